//! Glance: images, and their bytes on their way into a file.
//!
//! ```text
//!   show ──> GET …/file ──> <dir>/<image>.<random> ── size, hash ──> ImageData::Temporary
//! ```
//!
//! Whoever wants an image that is being downloaded, or whose file somebody still holds, shares that file.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kilonova_core::{Config, RequestContext};
use md5::Md5;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::adapter::{Adapter, Call, Kind};
use super::answer::{Answer, broken};
use super::options::HttpConfigError;
use super::session::Sessions;
use super::single_flight::SingleFlight;
use crate::ClientError;
use crate::image::{Image, ImageData, ImageService, TemporaryFile};

const KIND: Kind = Kind {
    service: "image",
    section: "glance",
    service_type: "image",
    retries_option: Some("num_retries"),
    version: Some("v2"),
    header: None,
};
/// Bytes that are taken of an image whose size Glance does not tell: its own default limit.
const SIZE_LIMIT: u64 = 1 << 40;
/// Attributes that say something of Glance and nothing of the image.
const NO_PROPERTIES: [&str; 9] =
    ["self", "file", "schema", "direct_url", "locations", "stores", "deleted", "deleted_at", "is_public"];

/// Images over HTTP.
pub struct HttpImage {
    inner: Arc<Inner>,
    downloads: SingleFlight<Content, Arc<TemporaryFile>>,
}

struct Inner {
    adapter: Adapter,
    dir: PathBuf,
    /// Files that somebody may still hold.
    held: Mutex<HashMap<Content, Weak<TemporaryFile>>>,
}

/// An image and the hash of its bytes.
type Content = (Uuid, String);

impl HttpImage {
    /// From `[glance]`; downloads go to `dir`, which belongs to this service alone: what is in it is removed.
    pub fn from_config(config: &Config, sessions: &mut Sessions, dir: &Path) -> Result<Self, HttpConfigError> {
        let adapter = Adapter::from_config(config, sessions, KIND)?;
        sweep(dir).map_err(|error| HttpConfigError::Directory { path: dir.to_owned(), source: error })?;
        let inner = Inner { adapter, dir: dir.to_owned(), held: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), downloads: SingleFlight::default() })
    }
}

/// Makes the directory, or removes the files that a process left there when it was killed.
fn sweep(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            tracing::info!(path = %entry.path().display(), "removing a download that was cut off");
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[async_trait]
impl ImageService for HttpImage {
    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError> {
        self.inner.show(context, image_id).await
    }

    async fn download(&self, context: &RequestContext, image_id: Uuid) -> Result<ImageData, ClientError> {
        // Also says whether the caller may see the image, before it gets a file that is here already.
        let image = self.inner.show(context, image_id).await?;
        let hash = image.os_hash_value.clone().or_else(|| image.checksum.clone());
        let Some(hash) = hash.filter(|_| image.status == "active") else {
            return Ok(ImageData::Temporary(self.inner.fetch(context, &image).await?));
        };
        let content = (image_id, hash);
        if let Some(file) = self.inner.held().get(&content).and_then(Weak::upgrade) {
            return Ok(ImageData::Temporary(file));
        }
        let (inner, context, key) = (self.inner.clone(), context.clone(), content.clone());
        let work = || async move {
            let file = inner.fetch(&context, &image).await?;
            let mut held = inner.held();
            held.retain(|_, file| file.strong_count() > 0);
            held.insert(key, Arc::downgrade(&file));
            drop(held);
            Ok(file)
        };
        Ok(ImageData::Temporary(self.downloads.run(content, work).await?))
    }
}

impl Inner {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Content, Weak<TemporaryFile>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError> {
        let answer = self.adapter.send(context, &Call::get(&["images", &image_id.to_string()])).await?;
        parse(answer.ok().map_err(|failure| failure.error(KIND.service, "image", image_id))?)
    }

    /// The bytes in a new file; none is left when something goes wrong.
    async fn fetch(&self, context: &RequestContext, image: &Image) -> Result<Arc<TemporaryFile>, ClientError> {
        let id = image.id.to_string();
        let mut response = self.adapter.stream(context, &Call::get(&["images", &id, "file"])).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Err(ClientError::not_found("image", image.id)),
            _ => {
                let answer = Answer::read(KIND.service, response).await?;
                return Err(match answer.ok() {
                    Err(failure) => failure.error(KIND.service, "image", image.id),
                    Ok(_) => ClientError::unavailable(KIND.service, "an answer that is no download"),
                });
            }
        }
        let file = TemporaryFile::new(self.dir.join(format!("{id}.{}", Uuid::new_v4().simple())));
        let disk = |error: std::io::Error| {
            ClientError::unavailable(KIND.service, format!("cannot write {}: {error}", file.path().display()))
        };
        let mut check = Check::new(image, response.content_length());
        let mut out = tokio::fs::File::create_new(file.path()).await.map_err(disk)?;
        while let Some(piece) = response.chunk().await.map_err(|error| broken(KIND.service, error))? {
            check.take(&piece)?;
            out.write_all(&piece).await.map_err(disk)?;
        }
        out.flush().await.map_err(disk)?;
        drop(out);
        check.finish()?;
        Ok(Arc::new(file))
    }
}

/// Looks at the bytes as they come.
struct Check<'a> {
    image: &'a Image,
    size: u64,
    expected_size: Option<u64>,
    hash: Option<(Hash, &'a str)>,
}

enum Hash {
    Sha512(Box<Sha512>),
    Sha384(Box<Sha384>),
    Sha256(Box<Sha256>),
    Md5(Box<Md5>),
}

impl Hash {
    fn named(algorithm: &str) -> Option<Self> {
        match algorithm {
            "sha512" => Some(Self::Sha512(Box::default())),
            "sha384" => Some(Self::Sha384(Box::default())),
            "sha256" => Some(Self::Sha256(Box::default())),
            "md5" => Some(Self::Md5(Box::default())),
            _ => None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha512(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Md5(hash) => hash.update(bytes),
        }
    }

    fn hex(self) -> String {
        match self {
            Self::Sha512(hash) => hex(&hash.finalize()),
            Self::Sha384(hash) => hex(&hash.finalize()),
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Md5(hash) => hex(&hash.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'a> Check<'a> {
    fn new(image: &'a Image, content_length: Option<u64>) -> Self {
        let by_algorithm = image.os_hash_algo.as_deref().zip(image.os_hash_value.as_deref());
        let strong = by_algorithm.and_then(|(algorithm, value)| Some((Hash::named(algorithm)?, value)));
        let weak = || Some((Hash::named("md5")?, image.checksum.as_deref()?));
        let hash = strong.or_else(weak);
        if hash.is_none() {
            tracing::warn!(image = %image.id, "an image without a hash that is known: its bytes are not verified");
        }
        let size = image.size.and_then(|size| u64::try_from(size).ok());
        Self { image, size: 0, expected_size: size.or(content_length), hash }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.size += piece.len() as u64;
        let limit = self.expected_size.unwrap_or(SIZE_LIMIT);
        if self.size > limit {
            return Err(self.failed(format!("more than {limit} bytes came")));
        }
        if let Some((hash, _)) = &mut self.hash {
            hash.update(piece);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), ClientError> {
        if let Some(expected) = self.expected_size.filter(|expected| *expected != self.size) {
            return Err(self.failed(format!("{} of {expected} bytes came", self.size)));
        }
        match self.hash.take() {
            Some((hash, expected)) if !hash.hex().eq_ignore_ascii_case(expected) => {
                Err(self.failed("the bytes do not have the image's hash".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, reason: String) -> ClientError {
        ClientError::unavailable(KIND.service, format!("image {}: {reason}", self.image.id))
    }
}

#[derive(Deserialize)]
struct Body {
    id: Uuid,
    name: Option<String>,
    status: String,
    #[serde(default)]
    visibility: String,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    os_hidden: bool,
    checksum: Option<String>,
    os_hash_algo: Option<String>,
    os_hash_value: Option<String>,
    owner: Option<String>,
    size: Option<i64>,
    virtual_size: Option<i64>,
    container_format: Option<String>,
    disk_format: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(default)]
    min_disk: i64,
    #[serde(default)]
    min_ram: i64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

fn parse(body: Value) -> Result<Image, ClientError> {
    let body: Body = serde_json::from_value(body)
        .map_err(|error| ClientError::unavailable(KIND.service, format!("an image that is none: {error}")))?;
    let property = |(name, value): (String, Value)| match value {
        _ if NO_PROPERTIES.contains(&name.as_str()) => None,
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        other => Some((name, other.to_string())),
    };
    let properties: BTreeMap<String, String> = body.others.into_iter().filter_map(property).collect();
    Ok(Image {
        id: body.id,
        name: body.name,
        status: body.status,
        visibility: body.visibility,
        is_protected: body.protected,
        is_hidden: body.os_hidden,
        checksum: body.checksum,
        os_hash_algo: body.os_hash_algo,
        os_hash_value: body.os_hash_value,
        owner: body.owner,
        size: body.size,
        virtual_size: body.virtual_size,
        container_format: body.container_format,
        disk_format: body.disk_format,
        created_at: body.created_at,
        updated_at: body.updated_at,
        min_disk: body.min_disk,
        min_ram: body.min_ram,
        tags: body.tags,
        properties,
    })
}
