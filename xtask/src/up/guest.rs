//! The server that `cargo xtask up` shows, and the key pair to log in to it with. Both are used again when a run before
//! left them usable; else they are made anew.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::{Api, text};
use crate::process;
use crate::progress::Step;

/// Name of the key pair in the cloud.
pub(super) const KEY_NAME: &str = "xtask";
const SERVER_NAME: &str = "first-guest";
const IMAGE_NAME: &str = "guest";
const NETWORK_NAME: &str = "private";
/// Its user, see guest-image/README.md.
const USER: &str = "kilo";
/// Where the driver says how ssh reaches the guest.
const SSH_KEY: &str = "kilonova:ssh";

const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);
const GONE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// The server, as it was when it became ACTIVE.
pub(super) struct Guest {
    id: String,
    flavor: String,
    /// Host and port of a forwarded ssh, where the driver has one.
    ssh: Option<(String, String)>,
    private_key: PathBuf,
    is_new: bool,
}

impl Guest {
    pub(super) fn name(&self) -> &'static str {
        SERVER_NAME
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn flavor(&self) -> &str {
        &self.flavor
    }

    /// Whether this run made it: then its console is all new.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Arguments of ssh, without a command.
    pub(super) fn ssh_arguments(&self) -> Option<Vec<String>> {
        let (host, port) = self.ssh.as_ref()?;
        let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
        let mut arguments: Vec<String> = options.into_iter().flat_map(|it| ["-o".to_owned(), it.to_owned()]).collect();
        arguments.extend(["-i".to_owned(), self.private_key.display().to_string()]);
        arguments.extend(["-p".to_owned(), port.clone(), format!("{USER}@{host}")]);
        Some(arguments)
    }

    /// What a person types to log in.
    pub(super) fn ssh_command(&self) -> Option<String> {
        Some(format!("ssh {}", self.ssh_arguments()?.join(" ")))
    }
}

/// The server, ACTIVE: a running one of a former run, that one started, or a new one.
pub(super) async fn ensure(api: &Api, state_dir: &Path) -> anyhow::Result<Guest> {
    let private_key = state_dir.join("xtask-key");
    let is_same_key = ensure_key(api, &private_key).await?;
    let existing = find_server(api).await?;
    let (id, is_new) = match existing {
        Some((id, status)) if is_same_key && matches!(status.as_str(), "ACTIVE" | "SHUTOFF") => {
            resume(api, &id, &status).await?;
            (id, false)
        }
        Some((id, status)) => {
            let step = Step::quiet(format!("removing the server of a former run ({status})"));
            delete_server(api, &id).await?;
            step.done("");
            (create(api).await?, true)
        }
        None => (create(api).await?, true),
    };
    let server = wait_active(api, &id).await?;
    let flavor = flavor_name(api, &server).await?;
    let ssh = server["metadata"][SSH_KEY].as_str().and_then(|address| address.rsplit_once(':'));
    let ssh = ssh.map(|(host, port)| (host.to_owned(), port.to_owned()));
    Ok(Guest { id, flavor, ssh, private_key, is_new })
}

/// Deletes the server and waits until it is gone, then deletes the key pair. What is not there is no error.
pub(super) async fn remove(api: &Api) -> anyhow::Result<()> {
    if let Some((id, _)) = find_server(api).await? {
        delete_server(api, &id).await?;
    }
    api.delete(&format!("/os-keypairs/{KEY_NAME}")).await
}

/// An error that says why the server failed, if it did.
pub(super) async fn check_not_failed(api: &Api, id: &str) -> anyhow::Result<()> {
    let server = api.get(&format!("/servers/{id}")).await?["server"].take();
    if server["status"] != "ERROR" {
        return Ok(());
    }
    let fault = &server["fault"];
    let message = fault["message"].as_str().unwrap_or("it has no fault that says why");
    let details = fault["details"].as_str().filter(|details| *details != message);
    let details = details.map(|details| format!("\n{details}")).unwrap_or_default();
    bail!("{}{details}\nthe server {SERVER_NAME} is in ERROR: {message}", console_end(api, id).await);
}

/// The last lines of the console, under a heading.
pub(super) async fn console_end(api: &Api, id: &str) -> String {
    let body = json!({"os-getConsoleOutput": {"length": 20}});
    match api.post(&format!("/servers/{id}/action"), &body).await {
        Ok(answer) => {
            let output = super::console::printable(answer["output"].as_str().unwrap_or_default());
            format!("the console ends:\n{}", process::last_lines(&output, 20))
        }
        Err(error) => format!("the console cannot be read: {error:#}"),
    }
}

/// Makes the key pair; false if the cloud's was not the one whose private half is here.
async fn ensure_key(api: &Api, private_key: &Path) -> anyhow::Result<bool> {
    let path = format!("/os-keypairs/{KEY_NAME}");
    let known = api.compute(Method::GET, &path, None).await?;
    if known.status.is_success() && private_key.exists() {
        return Ok(true);
    }
    let step = Step::quiet("creating a key pair");
    if known.status != StatusCode::NOT_FOUND {
        known.ok().with_context(|| format!("GET {path}"))?;
        api.delete(&path).await?;
    }
    let made = api.post("/os-keypairs", &json!({"keypair": {"name": KEY_NAME}})).await?;
    write_private(private_key, &text(&made["keypair"]["private_key"])?)?;
    step.done(&private_key.display().to_string());
    Ok(false)
}

fn write_private(path: &Path, contents: &str) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(contents.as_bytes())?)
}

/// Id and status.
async fn find_server(api: &Api) -> anyhow::Result<Option<(String, String)>> {
    let list = api.get(&format!("/servers/detail?name=^{SERVER_NAME}$")).await?;
    let servers = list["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let server = servers.iter().find(|server| server["name"] == SERVER_NAME);
    server.map(|server| Ok((text(&server["id"])?, text(&server["status"])?))).transpose()
}

async fn resume(api: &Api, id: &str, status: &str) -> anyhow::Result<()> {
    let step = Step::quiet(format!("taking over the server {SERVER_NAME} ({status})"));
    if status == "SHUTOFF" {
        api.post(&format!("/servers/{id}/action"), &json!({"os-start": null})).await?;
    }
    step.done(id);
    Ok(())
}

async fn create(api: &Api) -> anyhow::Result<String> {
    let step = Step::quiet(format!("creating the server {SERVER_NAME}"));
    let image = api.find_named("image", "/v2/images", "images", IMAGE_NAME).await?;
    let network = api.find_named("network", "/v2.0/networks", "networks", NETWORK_NAME).await?;
    let flavors = api.get("/flavors/detail").await?["flavors"].take();
    let flavor = fitting_flavor(&flavors, &image)?;
    let body = json!({"server": {
        "name": SERVER_NAME, "imageRef": image["id"], "flavorRef": flavor["id"], "key_name": KEY_NAME,
        "networks": [{"uuid": network["id"]}],
    }});
    let id = text(&api.post("/servers", &body).await?["server"]["id"])?;
    step.done(&format!("{id}, {}", flavor["name"].as_str().unwrap_or_default()));
    Ok(id)
}

/// The smallest that the image fits.
fn fitting_flavor<'a>(flavors: &'a Value, image: &Value) -> anyhow::Result<&'a Value> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let flavors = flavors.as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |flavor: &&Value| {
        number(&flavor["ram"]) >= number(&image["min_ram"]) && number(&flavor["disk"]) >= number(&image["min_disk"])
    };
    let smallest = flavors.iter().filter(fits).min_by_key(|it| (number(&it["ram"]), number(&it["disk"])));
    smallest.context("no flavor fits the image")
}

async fn wait_active(api: &Api, id: &str) -> anyhow::Result<Value> {
    let step = Step::quiet("waiting for ACTIVE");
    let started = Instant::now();
    loop {
        let server = api.get(&format!("/servers/{id}")).await?["server"].take();
        match server["status"].as_str() {
            Some("ACTIVE") => {
                step.done("");
                return Ok(server);
            }
            Some("ERROR") => check_not_failed(api, id).await?,
            status if started.elapsed() > ACTIVE_TIMEOUT => {
                let status = status.unwrap_or("without a status");
                let console = console_end(api, id).await;
                bail!("{console}\nthe server is {status} after {} s, not ACTIVE", ACTIVE_TIMEOUT.as_secs());
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

async fn flavor_name(api: &Api, server: &Value) -> anyhow::Result<String> {
    let id = text(&server["flavor"]["id"])?;
    text(&api.get(&format!("/flavors/{id}")).await?["flavor"]["name"])
}

async fn delete_server(api: &Api, id: &str) -> anyhow::Result<()> {
    let path = format!("/servers/{id}");
    api.delete(&path).await?;
    let started = Instant::now();
    loop {
        let answer = api.compute(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let status = text(&answer.ok()?["server"]["status"])?;
        if started.elapsed() > GONE_TIMEOUT {
            bail!("the server is still there {} s after its deletion ({status})", GONE_TIMEOUT.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_flavor_that_the_image_fits_is_taken() {
        let flavors = json!([
            {"name": "large", "ram": 4096, "disk": 40}, {"name": "nano", "ram": 64, "disk": 0},
            {"name": "tiny", "ram": 128, "disk": 1}, {"name": "micro", "ram": 192, "disk": 1},
        ]);
        let name = |image: Value| fitting_flavor(&flavors, &image).map(|flavor| flavor["name"].clone()).ok();
        assert_eq!(name(json!({"min_ram": 0, "min_disk": 0})), Some(json!("nano")));
        assert_eq!(name(json!({"min_ram": 100, "min_disk": 1})), Some(json!("tiny")));
        assert_eq!(name(json!({"min_disk": 20})), Some(json!("large")));
        assert_eq!(name(json!({"min_disk": 100})), None);
    }

    #[test]
    fn a_private_key_is_readable_by_its_owner_only_also_in_place_of_another_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "old and longer").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
