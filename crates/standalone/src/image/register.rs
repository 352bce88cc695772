//! Images that come with the cloud itself: registered from a file by `kilonova up`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use kilonova_core::time::utcnow;
use kilonova_db::image::{self as rows, ImageRow, Properties, Scope, StoredData, Tags};
use md5::Md5;
use sha2::Digest as _;
use uuid::Uuid;

use super::BuiltinImage;
use super::error::ImageError;
use super::store::{self, Store};

/// Bytes read at a time.
const PIECE: usize = 1024 * 1024;

impl BuiltinImage {
    /// Makes a file a public image of no project, and returns its id.
    ///
    /// With the same name and the same bytes as an earlier call it is that image, and nothing changes. Images of that
    /// name that an earlier call made of other bytes are hidden: servers that use them keep them, and the name means
    /// the new one.
    pub async fn register_file(
        &self,
        name: &str,
        path: &Path,
        disk_format: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<Uuid, ImageError> {
        let source = path.to_owned();
        let checksum = tokio::task::spawn_blocking(move || checksum(&source)).await??;
        let mut registered = rows::list(&self.db, Scope::Unowned).await?;
        registered.retain(|row| row.name.as_deref() == Some(name) && row.status == "active" && !row.is_hidden);
        let same = |row: &&ImageRow| row.checksum.as_ref() == Some(&checksum) && self.store.path(row.id).exists();
        if let Some(row) = registered.iter().find(same) {
            return Ok(row.id);
        }
        let row = new_row(name, disk_format, properties);
        self.store_file(&row, path.to_owned()).await?;
        for old in &registered {
            rows::modify(&self.db, old.id, |old| {
                old.is_hidden = true;
                Ok::<_, ImageError>(())
            })
            .await?;
        }
        Ok(row.id)
    }

    async fn store_file(&self, row: &ImageRow, path: PathBuf) -> Result<(), ImageError> {
        rows::create(&self.db, row).await?;
        let (store, id, disk_format) = (self.store.clone(), row.id, row.disk_format.clone());
        let copied = tokio::task::spawn_blocking(move || copy(&store, id, disk_format.as_deref(), &path)).await?;
        match copied {
            Ok(data) => self.activate(row, &data).await,
            Err(error) => {
                rows::delete(&self.db, id).await?;
                Err(error.into())
            }
        }
    }
}

fn new_row(name: &str, disk_format: &str, properties: BTreeMap<String, String>) -> ImageRow {
    let now = utcnow();
    ImageRow {
        id: Uuid::new_v4(),
        name: Some(name.to_owned()),
        status: "saving".to_owned(),
        visibility: "public".to_owned(),
        is_protected: false,
        is_hidden: false,
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        owner: None,
        size: None,
        virtual_size: None,
        container_format: Some("bare".to_owned()),
        disk_format: Some(disk_format.to_owned()),
        created_at: now,
        updated_at: now,
        min_disk: 0,
        min_ram: 0,
        tags: Tags::default(),
        properties: Properties(properties),
    }
}

/// A copy, not a link: what becomes of the source later must not change the image.
pub(super) fn copy(store: &Store, id: Uuid, disk_format: Option<&str>, source: &Path) -> io::Result<StoredData> {
    let mut intake = store.intake(id, disk_format)?;
    for_each_piece(source, |piece| intake.write(piece))?;
    intake.finish()
}

/// MD5 in hex.
fn checksum(source: &Path) -> io::Result<String> {
    let mut md5 = Md5::new();
    for_each_piece(source, |piece| {
        md5.update(piece);
        Ok(())
    })?;
    Ok(store::hex(&md5.finalize()))
}

fn for_each_piece(source: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::open(source)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            length => take(&piece[..length])?,
        }
    }
}
