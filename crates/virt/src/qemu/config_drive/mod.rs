//! The config drive: an ISO 9660 image labelled `config-2` with what the metadata service would say.
//!
//! It holds secrets (`admin_pass`, user data, injected files), so they go through files that only this user reads,
//! never over a command line.

mod documents;

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::config::QemuConfig;
use super::errors::{blocking_in, host_error};
use super::guest_dir::GuestDir;
use super::locks::Operation;
use super::tools::{Bounds, Tool, ToolError};
use crate::driver::{DriverError, Spawn};

/// The versions of the layout that are offered besides `latest`; the first knows no `dedicated_cpus`.
const VERSIONS: [&str; 3] = ["2018-08-27", "2020-10-14", "latest"];

/// A file of the drive: path and bytes.
type Entry = (String, Vec<u8>);

/// Makes the drive `iso`, instead of an older one.
pub(super) async fn create(
    config: &QemuConfig,
    dir: &GuestDir,
    operation: &Operation,
    iso: &Path,
    entries: Vec<Entry>,
) -> Result<(), DriverError> {
    let tree = dir.path().join("config_drive");
    let written = tree.clone();
    blocking_in(operation, move || write_tree(&written, &entries)).await?;
    let made = make_iso(config, dir, &tree, iso).await;
    let removed = blocking_in(operation, move || {
        std::fs::remove_dir_all(&tree).map_err(|error| host_error("remove", &tree, &error))
    })
    .await;
    made.and(removed)
}

/// All files of the drive. Fails when the user data is not what the API lets in.
pub(super) fn entries(spawn: &Spawn<'_>, dhcp_domain: &str) -> Result<Vec<Entry>, DriverError> {
    let user_data = match spawn.instance.user_data.as_deref() {
        None => None,
        Some(text) => Some(decode(text)?),
    };
    let seed = documents::random_seed()?;
    let network_data = documents::network_data(spawn.network_info);
    let mut entries = Vec::new();
    for version in VERSIONS {
        let mut add = |name: &str, bytes: Vec<u8>| {
            entries.push((format!("openstack/{version}/{name}"), bytes));
        };
        let mut meta_data = documents::meta_data(spawn, dhcp_domain, &seed);
        if version == VERSIONS[0]
            && let Some(fields) = meta_data.as_object_mut()
        {
            fields.remove("dedicated_cpus");
        }
        add("meta_data.json", text(&meta_data));
        add("network_data.json", text(&network_data));
        add("vendor_data.json", text(&json!({})));
        add("vendor_data2.json", text(&json!({})));
        if let Some(user_data) = &user_data {
            add("user_data", user_data.clone());
        }
    }
    for (index, (_, bytes)) in spawn.injected.files.iter().enumerate() {
        let path = format!("openstack{}", documents::content_path(index));
        entries.push((path, bytes.clone()));
    }
    Ok(entries)
}

fn text(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

// As Python's b64decode, which Nova uses: line breaks inside are fine.
fn decode(user_data: &str) -> Result<Vec<u8>, DriverError> {
    let compact: String = user_data.split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|error| DriverError::Hypervisor(format!("the user data is not base64: {error}")))
}

fn write_tree(tree: &Path, entries: &[Entry]) -> Result<(), DriverError> {
    let write = |path: &Path, bytes: &[u8]| {
        let parent = path.parent().unwrap_or(tree);
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    };
    for (path, bytes) in entries {
        let path = tree.join(path);
        write(&path, bytes).map_err(|error| host_error("write", &path, &error))?;
    }
    Ok(())
}

async fn make_iso(config: &QemuConfig, dir: &GuestDir, tree: &Path, iso: &Path) -> Result<(), DriverError> {
    let options = [
        "-quiet",
        "-r",
        "-J",
        "-l",
        "-ldots",
        "-allow-lowercase",
        "-allow-multidot",
        "-publisher",
        "Kilonova",
        "-V",
        "config-2",
        "-o",
    ];
    let args = options.iter().map(|option| option.as_ref()).chain([iso.as_os_str(), tree.as_os_str()]);
    let genisoimage = Tool { program: &config.mkisofs_cmd, package: "genisoimage" };
    genisoimage
        .run(args, dir.path(), Bounds::time(config.limits.tool_timeout))
        .await
        .map_err(ToolError::into_driver_error)?;
    // The directory lets nobody in, in the meantime.
    std::fs::set_permissions(iso, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| host_error("change", iso, &error))
}
