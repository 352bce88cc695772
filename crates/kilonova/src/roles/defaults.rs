//! What a new cloud has: flavors and an image.

use std::collections::BTreeMap;
use std::path::Path;

use kilonova_db::flavors::{self, FlavorQuery};
use kilonova_db::{Db, DbError};
use kilonova_objects::Flavor;
use kilonova_standalone::image::BuiltinImage;

/// Name, vCPUs, MiB of memory, GiB of disk: DevStack's and Nova's old defaults.
const FLAVORS: [(&str, i64, i64, i64); 7] = [
    ("m1.nano", 1, 128, 1),
    ("m1.micro", 1, 192, 1),
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
    ("m1.xlarge", 8, 16384, 160),
];

/// Name of the image that every project sees.
const GUEST_IMAGE: &str = "guest";
/// What the fake driver boots: as much as the smallest disk image that anybody would call one.
const FAKE_IMAGE_BYTES: usize = 1024 * 1024;

/// Makes what is missing: flavors, and `guest_image` for everybody. The fake driver reads no disk and gets an empty one.
pub(crate) async fn ensure(
    db: &Db,
    images: &BuiltinImage,
    guest_image: Option<&Path>,
    driver: &str,
    state_dir: &Path,
) -> anyhow::Result<()> {
    ensure_flavors(db).await?;
    if let Some(path) = guest_image {
        images.register_file(GUEST_IMAGE, path, "qcow2", BTreeMap::new()).await?;
    } else if driver.starts_with("fake") {
        ensure_fake_image(images, state_dir).await?;
    }
    Ok(())
}

/// Only where there is no flavor at all: an operator who deleted one does not want it back.
async fn ensure_flavors(db: &Db) -> Result<(), DbError> {
    let any = FlavorQuery { include_disabled: true, limit: Some(1), ..FlavorQuery::default() };
    if !flavors::list(db, &any).await?.is_empty() {
        return Ok(());
    }
    for (number, (name, vcpus, memory_mb, root_gb)) in FLAVORS.into_iter().enumerate() {
        let flavor = Flavor {
            flavorid: (number + 1).to_string(),
            name: Some(name.to_owned()),
            vcpus,
            memory_mb,
            root_gb,
            rxtx_factor: Some(1.0),
            is_public: true,
            ..Flavor::default()
        };
        flavors::create(db, &flavor, &[]).await?;
    }
    Ok(())
}

/// The fake driver reads no disk, but a request for a server names an image.
async fn ensure_fake_image(images: &BuiltinImage, state_dir: &Path) -> anyhow::Result<()> {
    let path = state_dir.join("fake-guest.raw");
    if !path.exists() {
        std::fs::write(&path, vec![0_u8; FAKE_IMAGE_BYTES])?;
    }
    images.register_file(GUEST_IMAGE, &path, "raw", BTreeMap::new()).await?;
    Ok(())
}
