//! `PUT /v2/images/{id}/file`: from the network to the disk, a piece at a time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use kilonova_core::RequestContext;
use kilonova_db::image::{self as rows, ImageRow, StoredData};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::BuiltinImage;
use super::error::ImageError;
use super::register::copy;
use super::store::Intake;

/// Pieces between the network and the disk.
const PIECES_IN_FLIGHT: usize = 16;
/// A client that sends nothing for so long is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

pub(super) async fn put(
    State(service): State<Arc<BuiltinImage>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ImageError> {
    ensure_octet_stream(&headers)?;
    let row = service.mutable(&context, &id, "upload_image").await?;
    ensure_formats(&row)?;
    let announced = [header::CONTENT_LENGTH.as_str(), "x-openstack-image-size"].map(|name| number(&headers, name));
    if announced.iter().flatten().any(|size| *size > service.size_limit) {
        return Err(service.too_large());
    }
    // The client may go away, and this future with it; what was begun must be wound up all the same. So the task begins
    // it: a future that is dropped right after it wrote `saving` would leave that for ever.
    tokio::spawn(async move { service.receive(row, body, announced[1]).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}

impl BuiltinImage {
    /// From `queued` by way of `saving` to `active`, or back to `queued` with no file.
    async fn receive(&self, row: ImageRow, body: Body, announced: Option<u64>) -> Result<(), ImageError> {
        if !rows::set_status(&self.db, row.id, &["queued"], "saving").await? {
            return Err(self.not_queued(&row).await?);
        }
        match self.store_body(&row, body, announced).await {
            Ok(data) => self.activate(&row, &data).await,
            Err(error) => {
                rows::set_status(&self.db, row.id, &["saving"], "queued").await?;
                tracing::warn!(image = %row.id, %error, "an upload failed; the image is queued again");
                Err(error)
            }
        }
    }

    /// The same from a file of this host.
    pub(super) async fn receive_file(&self, row: ImageRow, path: PathBuf) -> Result<(), ImageError> {
        ensure_formats(&row)?;
        if !rows::set_status(&self.db, row.id, &["queued"], "saving").await? {
            return Err(self.not_queued(&row).await?);
        }
        let (store, id, disk_format) = (self.store.clone(), row.id, row.disk_format.clone());
        let copied = tokio::task::spawn_blocking(move || copy(&store, id, disk_format.as_deref(), &path)).await;
        match copied.map_err(ImageError::from).and_then(|copied| copied.map_err(storage_error)) {
            Ok(data) => self.activate(&row, &data).await,
            Err(error) => {
                rows::set_status(&self.db, row.id, &["saving"], "queued").await?;
                Err(error)
            }
        }
    }

    pub(super) async fn activate(&self, row: &ImageRow, data: &StoredData) -> Result<(), ImageError> {
        if rows::activate(&self.db, row.id, data).await? {
            return Ok(());
        }
        self.store.remove(row.id).await?;
        Err(ImageError::Gone(format!(
            "Image {} could not be found after upload. The image may have been deleted during the upload.",
            row.id
        )))
    }

    async fn store_body(&self, row: &ImageRow, body: Body, announced: Option<u64>) -> Result<StoredData, ImageError> {
        let (store, id, disk_format) = (self.store.clone(), row.id, row.disk_format.clone());
        let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
        let writer = tokio::task::spawn_blocking(move || write(store.intake(id, disk_format.as_deref())?, receiver));
        let sent = self.send_pieces(body, announced, &pieces).await;
        drop(pieces);
        // The writer is waited for in any case: when it has ended, no partial file is left.
        let written = writer.await?;
        sent?;
        written?.ok_or_else(|| ImageError::BadRequest("The upload ended early.".to_owned()))
    }

    /// Hands the body to the writer. Success also when the writer has stopped: its error says why.
    async fn send_pieces(
        &self,
        body: Body,
        announced: Option<u64>,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<(), ImageError> {
        let mut stream = body.into_data_stream();
        let mut size = 0_u64;
        loop {
            let next = timeout(IDLE_LIMIT, stream.next()).await;
            let Some(bytes) = next.map_err(|_| ImageError::BadRequest("The upload stalled.".to_owned()))? else {
                break;
            };
            let bytes = bytes.map_err(|error| ImageError::BadRequest(format!("The upload was broken off: {error}")))?;
            size += bytes.len() as u64;
            if size > self.size_limit {
                return Err(self.too_large());
            }
            if pieces.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            return Err(ImageError::BadRequest(format!(
                "Size mismatch: x-openstack-image-size is {announced}, but {size} bytes were uploaded."
            )));
        }
        // A failed send means that the writer has stopped, and it will say why.
        let _ = pieces.send(Piece::End).await;
        Ok(())
    }

    fn too_large(&self) -> ImageError {
        ImageError::TooLarge(format!("The image is larger than the limit of {} bytes.", self.size_limit))
    }

    async fn not_queued(&self, row: &ImageRow) -> Result<ImageError, ImageError> {
        let Some(now) = rows::get(&self.db, row.id).await? else { return Ok(ImageError::no_image(row.id)) };
        Ok(ImageError::Conflict(format!("Image status transition from {} to saving is not allowed", now.status)))
    }
}

enum Piece {
    Bytes(Bytes),
    /// The body was complete; without it the file is thrown away.
    End,
}

/// Ends with nothing when the sender went away before the end.
fn write(mut intake: Intake, mut pieces: mpsc::Receiver<Piece>) -> Result<Option<StoredData>, ImageError> {
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => intake.write(&bytes).map_err(storage_error)?,
            Piece::End => return intake.finish().map(Some).map_err(storage_error),
        }
    }
    Ok(None)
}

fn storage_error(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let text = "Image storage media is full: There is not enough disk space on the image storage media.";
            ImageError::TooLarge(text.to_owned())
        }
        _ => error.into(),
    }
}

fn ensure_octet_stream(headers: &HeaderMap) -> Result<(), ImageError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/octet-stream") {
        return Ok(());
    }
    Err(ImageError::UnsupportedMediaType(format!("Unsupported content type '{given}'; use application/octet-stream.")))
}

fn ensure_formats(row: &ImageRow) -> Result<(), ImageError> {
    let formats = [("disk_format", &row.disk_format), ("container_format", &row.container_format)];
    let missing: Vec<&str> = formats.iter().filter(|(_, format)| format.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ImageError::BadRequest(format!("Properties {} must be set prior to saving data.", missing.join(", "))))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
