//! Glance: images, and their bytes on their way into a file.
//!
//! ```text
//!   show ──> GET …/file ──> <dir>/<image>.<random> ── size, hash ──> ImageData::Temporary
//!                 ^                    │
//!                 └── Range: bytes=n- ─┘ the transfer broke off
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
use reqwest::header::HeaderValue;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use super::adapter::{Adapter, Call, Kind, wait};
use super::answer::{Answer, broken, header};
use super::options::HttpConfigError;
use super::session::Sessions;
use super::single_flight::SingleFlight;
use crate::ClientError;
use crate::image::{Image, ImageData, ImageQuery, ImageService, ImageUpdate, NewImage, TemporaryFile};

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
/// Images that a list is asked for at a time: what Glance gives by default at most.
const PAGE: usize = 1000;
/// The language of changes.
const PATCH: &str = "application/openstack-images-v2.1-json-patch";
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
    /// Where downloads go; none: this process makes none.
    dir: Option<PathBuf>,
    /// Files that somebody may still hold.
    held: Mutex<HashMap<Content, Weak<TemporaryFile>>>,
}

/// An image and the hash of its bytes.
type Content = (Uuid, String);

impl HttpImage {
    /// From `[glance]`; downloads go to `dir`, which belongs to this service alone: what is in it is removed.
    pub fn from_config(config: &Config, sessions: &mut Sessions, dir: &Path) -> Result<Self, HttpConfigError> {
        let adapter = adapter(config, sessions)?;
        sweep(dir).map_err(|error| HttpConfigError::Directory { path: dir.to_owned(), source: error })?;
        Ok(Self::new(adapter, Some(dir.to_owned())))
    }

    /// The same for a process that looks at images and never reads their bytes.
    pub fn without_downloads(config: &Config, sessions: &mut Sessions) -> Result<Self, HttpConfigError> {
        Ok(Self::new(adapter(config, sessions)?, None))
    }

    fn new(adapter: Adapter, dir: Option<PathBuf>) -> Self {
        let inner = Inner { adapter, dir, held: Mutex::default() };
        Self { inner: Arc::new(inner), downloads: SingleFlight::default() }
    }
}

fn adapter(config: &Config, sessions: &mut Sessions) -> Result<Adapter, HttpConfigError> {
    Adapter::from_config(config, sessions, KIND)?.at_servers(config, "api_servers")
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
        self.inner.dir()?;
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

    async fn list(&self, context: &RequestContext, query: &ImageQuery) -> Result<Vec<Image>, ClientError> {
        let wanted = query.limit.unwrap_or(usize::MAX);
        let mut images: Vec<Image> = Vec::new();
        let mut marker = query.marker.clone();
        while images.len() < wanted {
            let page = PAGE.min(wanted - images.len());
            let found = self.inner.page(context, query, page, marker.as_deref()).await?;
            let is_last = found.len() < page;
            images.extend(found);
            marker = images.last().map(|last| last.id.to_string());
            if is_last {
                break;
            }
        }
        Ok(images)
    }

    async fn create(&self, context: &RequestContext, image: &NewImage) -> Result<Image, ClientError> {
        let answer = self.inner.adapter.send(context, &Call::post(&["images"], new_body(image))).await?;
        let made = parse(answer.ok().map_err(|failure| failure.other(KIND.service))?)?;
        if let Some(member) = &image.member {
            let call = Call::post(&["images", &made.id.to_string(), "members"], json!({"member": member}));
            let answer = self.inner.adapter.send(context, &call).await?;
            answer.ok().map_err(|failure| failure.error(KIND.service, "image", made.id))?;
        }
        Ok(made)
    }

    async fn update(
        &self,
        context: &RequestContext,
        image_id: Uuid,
        update: &ImageUpdate,
    ) -> Result<Image, ClientError> {
        let before = self.inner.show(context, image_id).await?;
        let changes = changes(&before, update);
        if changes.is_empty() {
            return Ok(before);
        }
        let call = Call::patch(&["images", &image_id.to_string()], PATCH, Value::Array(changes));
        let answer = self.inner.adapter.send(context, &call).await?;
        parse(answer.ok().map_err(|failure| failure.error(KIND.service, "image", image_id))?)
    }

    async fn upload(&self, context: &RequestContext, image_id: Uuid, path: &Path) -> Result<(), ClientError> {
        let call = Call::upload(&["images", &image_id.to_string(), "file"], path.to_owned());
        let response = self.inner.adapter.stream(context, &call).await?;
        let answer = Answer::read(KIND.service, response).await?;
        answer.ok().map(drop).map_err(|failure| failure.error(KIND.service, "image", image_id))
    }

    async fn delete(&self, context: &RequestContext, image_id: Uuid) -> Result<(), ClientError> {
        let answer = self.inner.adapter.send(context, &Call::delete(&["images", &image_id.to_string()])).await?;
        answer.ok().map(drop).map_err(|failure| failure.error(KIND.service, "image", image_id))
    }
}

fn new_body(image: &NewImage) -> Value {
    let mut body: Map<String, Value> =
        image.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let attributes = [
        ("name", json!(image.name)),
        ("visibility", json!(image.visibility)),
        ("min_disk", json!(image.min_disk)),
        ("min_ram", json!(image.min_ram)),
        ("container_format", json!(image.container_format)),
        ("disk_format", json!(image.disk_format)),
    ];
    let said = attributes.into_iter().filter(|(_, value)| !value.is_null());
    body.extend(said.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(body)
}

/// What makes the image what it is to be, as JSON patch.
fn changes(before: &Image, update: &ImageUpdate) -> Vec<Value> {
    let add = |name: &str, value: &str| json!({"op": "add", "path": pointer(name), "value": value});
    let formats = [("container_format", &update.container_format), ("disk_format", &update.disk_format)];
    let mut changes: Vec<Value> =
        formats.iter().filter_map(|(name, format)| Some(add(name, format.as_deref()?))).collect();
    if let Some(wanted) = &update.properties {
        let gone = before.properties.keys().filter(|name| !wanted.contains_key(*name));
        changes.extend(gone.map(|name| json!({"op": "remove", "path": pointer(name)})));
        let other = wanted.iter().filter(|(name, value)| before.properties.get(*name) != Some(*value));
        changes.extend(other.map(|(name, value)| add(name, value)));
    }
    changes
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl Inner {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Content, Weak<TemporaryFile>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self) -> Result<&Path, ClientError> {
        let missing = || ClientError::unavailable(KIND.service, "this process was set up to download no images");
        self.dir.as_deref().ok_or_else(missing)
    }

    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError> {
        let answer = self.adapter.send(context, &Call::get(&["images", &image_id.to_string()])).await?;
        parse(answer.ok().map_err(|failure| failure.error(KIND.service, "image", image_id))?)
    }

    async fn page(
        &self,
        context: &RequestContext,
        query: &ImageQuery,
        limit: usize,
        marker: Option<&str>,
    ) -> Result<Vec<Image>, ClientError> {
        let mut call = Call::get(&["images"]).query("limit", limit);
        for (name, value) in &query.filters {
            call = call.query(name.clone(), value);
        }
        if let Some(key) = &query.sort_key {
            call = call.query("sort_key", key).query("sort_dir", "desc");
        }
        call = marker.into_iter().fold(call, |call, marker| call.query("marker", marker));
        let answer = self.adapter.send(context, &call).await?;
        let mut body = answer.ok().map_err(|failure| failure.other(KIND.service))?;
        let Value::Array(images) = body["images"].take() else {
            return Err(ClientError::unavailable(KIND.service, "a list of images that is none"));
        };
        images.into_iter().map(parse).collect()
    }

    /// The bytes in a new file; none is left when something goes wrong.
    async fn fetch(&self, context: &RequestContext, image: &Image) -> Result<Arc<TemporaryFile>, ClientError> {
        let file = TemporaryFile::new(self.dir()?.join(format!("{}.{}", image.id, Uuid::new_v4().simple())));
        let mut sink = Sink::create(file.path(), image).await?;
        let retries = self.adapter.retries();
        let mut broken = 0;
        while let Err(interruption) = self.transfer(context, image, &mut sink).await {
            match interruption {
                Interruption::Broken(error) if broken < retries.connect => {
                    tracing::warn!(image = %image.id, %error, "a download broke off and goes on");
                    wait(retries.connect_delay, broken).await;
                    broken += 1;
                }
                Interruption::Broken(error) | Interruption::Refused(error) => return Err(error),
            }
        }
        sink.finish().await?;
        Ok(Arc::new(file))
    }

    /// Asks for the bytes that the sink has not got yet, and takes them.
    async fn transfer(&self, context: &RequestContext, image: &Image, sink: &mut Sink<'_>) -> Result<(), Interruption> {
        let mut response = self.open(context, image, sink.check.size).await?;
        if response.status() == StatusCode::OK {
            // The whole: also from a server that knows no ranges.
            sink.restart().await?;
            sink.check.announce(response.content_length())?;
        }
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => sink.take(&piece).await?,
                Ok(None) => break,
                Err(error) => return Err(Interruption::Broken(broken(KIND.service, error))),
            }
        }
        sink.check.is_whole().map_err(Interruption::Broken)
    }

    /// An answer with the bytes from `first` on, or with all of them.
    async fn open(&self, context: &RequestContext, image: &Image, first: u64) -> Result<Response, ClientError> {
        let id = image.id.to_string();
        let mut call = Call::get(&["images", &id, "file"]);
        if let Some(range) = HeaderValue::from_str(&format!("bytes={first}-")).ok().filter(|_| first > 0) {
            call = call.header("range", range);
        }
        let response = self.adapter.stream(context, &call).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::PARTIAL_CONTENT if first > 0 && begins_at(&response, first) => Ok(response),
            StatusCode::PARTIAL_CONTENT => Err(ClientError::unavailable(
                KIND.service,
                format!("not the bytes from {first} on, which were asked for"),
            )),
            StatusCode::NO_CONTENT => Err(ClientError::not_found("image", image.id)),
            _ => {
                let answer = Answer::read(KIND.service, response).await?;
                Err(match answer.ok() {
                    Err(failure) => failure.error(KIND.service, "image", image.id),
                    Ok(_) => ClientError::unavailable(KIND.service, "an answer that is no download"),
                })
            }
        }
    }
}

fn begins_at(response: &Response, first: u64) -> bool {
    header(response, "content-range").is_some_and(|range| range.trim().starts_with(&format!("bytes {first}-")))
}

/// Why a transfer did not come to its end.
enum Interruption {
    /// It may go on where it broke off.
    Broken(ClientError),
    /// It will not be better the next time.
    Refused(ClientError),
}

impl From<ClientError> for Interruption {
    fn from(error: ClientError) -> Self {
        Self::Refused(error)
    }
}

/// The file that the bytes go to, and the check that they pass.
struct Sink<'a> {
    path: &'a Path,
    out: tokio::fs::File,
    image: &'a Image,
    check: Check<'a>,
}

impl<'a> Sink<'a> {
    async fn create(path: &'a Path, image: &'a Image) -> Result<Self, ClientError> {
        let out = tokio::fs::File::create_new(path).await.map_err(|error| disk(path, error))?;
        Ok(Self { path, out, image, check: Check::new(image) })
    }

    async fn take(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.check.take(piece)?;
        self.out.write_all(piece).await.map_err(|error| disk(self.path, error))
    }

    /// Forgets what came.
    async fn restart(&mut self) -> Result<(), ClientError> {
        if self.check.size == 0 {
            return Ok(());
        }
        self.check = Check::new(self.image);
        let emptied = async {
            self.out.flush().await?;
            self.out.set_len(0).await?;
            self.out.rewind().await
        };
        emptied.await.map_err(|error| disk(self.path, error))?;
        Ok(())
    }

    async fn finish(mut self) -> Result<(), ClientError> {
        self.out.flush().await.map_err(|error| disk(self.path, error))?;
        self.check.finish()
    }
}

fn disk(path: &Path, error: std::io::Error) -> ClientError {
    ClientError::unavailable(KIND.service, format!("cannot write {}: {error}", path.display()))
}

/// Looks at the bytes as they come.
struct Check<'a> {
    image: &'a Image,
    /// How many came.
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
    fn new(image: &'a Image) -> Self {
        let by_algorithm = image.os_hash_algo.as_deref().zip(image.os_hash_value.as_deref());
        let strong = by_algorithm.and_then(|(algorithm, value)| Some((Hash::named(algorithm)?, value)));
        let weak = || Some((Hash::named("md5")?, image.checksum.as_deref()?));
        let hash = strong.or_else(weak);
        if hash.is_none() {
            tracing::warn!(image = %image.id, "an image without a hash that is known: its bytes are not verified");
        }
        Self { image, size: 0, expected_size: image.size.and_then(|size| u64::try_from(size).ok()), hash }
    }

    /// How many bytes the server says that it sends. Where the image has a size, they must be as many.
    fn announce(&mut self, content_length: Option<u64>) -> Result<(), ClientError> {
        match (self.expected_size, content_length) {
            (Some(expected), Some(length)) if expected != length => {
                Err(self.failed(format!("{length} bytes are offered, it has {expected}")))
            }
            (None, Some(length)) if length > SIZE_LIMIT => Err(self.failed(format!("{length} bytes are offered"))),
            (expected, length) => {
                self.expected_size = expected.or(length);
                Ok(())
            }
        }
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

    /// Whether all that was promised is there.
    fn is_whole(&self) -> Result<(), ClientError> {
        match self.expected_size {
            Some(expected) if expected > self.size => {
                Err(self.failed(format!("{} of {expected} bytes came", self.size)))
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), ClientError> {
        match self.hash.take().map(|(hash, expected)| hash.hex().eq_ignore_ascii_case(expected)) {
            Some(false) => Err(self.failed("the bytes do not have the image's hash".to_owned())),
            Some(true) | None => Ok(()),
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
