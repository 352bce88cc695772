//! `GET /v2/images/{id}/file`: from the disk to the network, whole or one range.

use std::io::SeekFrom;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kilonova_core::RequestContext;
use kilonova_db::image::ImageRow;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::BuiltinImage;
use super::error::ImageError;

/// Bytes read from the disk at a time.
const PIECE: usize = 256 * 1024;

pub(super) async fn get(
    State(service): State<Arc<BuiltinImage>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ImageError> {
    let row = service.visible(&context, &id).await?;
    ensure_downloadable(&context, &row)?;
    if !has_data(&row) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut file = File::open(service.store.path(row.id)).await?;
    let size = file.metadata().await?.len();
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(|range| parse_range(range, size));
    let (status, first, length) = match range {
        Some(Range::Part { first, last }) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Some(Range::Unsatisfiable) => return Err(ImageError::RangeNotSatisfiable(size)),
        None | Some(Range::Ignored) => (StatusCode::OK, 0, size),
    };
    file.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(file.take(length), PIECE);
    let mut response = (status, Body::from_stream(stream)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{size}", first + length - 1);
        headers.extend(range.parse().ok().map(|range: HeaderValue| (header::CONTENT_RANGE, range)));
    } else if let Some(checksum) = row.checksum.as_deref().and_then(|checksum| checksum.parse().ok()) {
        // Glance sends the digits, not base64, and its clients expect that.
        headers.insert("content-md5", checksum);
    }
    Ok(response)
}

/// Whether there are bytes.
pub(super) fn has_data(row: &ImageRow) -> bool {
    matches!(row.status.as_str(), "active" | "deactivated")
}

/// Only admins read what is deactivated.
pub(super) fn ensure_downloadable(context: &RequestContext, row: &ImageRow) -> Result<(), ImageError> {
    if row.status == "deactivated" && !context.is_admin {
        let text = "The requested image has been deactivated. Image data download is forbidden.";
        return Err(ImageError::Forbidden(text.to_owned()));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Both ends included.
    Part {
        first: u64,
        last: u64,
    },
    Unsatisfiable,
    /// Another unit, several ranges, or rubbish: the whole is sent, as RFC 9110 has it.
    Ignored,
}

fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Ignored;
    };
    match (first.parse::<u64>(), last.parse::<u64>(), last.is_empty()) {
        (Ok(first), Ok(last), _) if first > last => Range::Ignored,
        (Ok(first), _, _) if first >= size => Range::Unsatisfiable,
        (Ok(first), Ok(last), _) => Range::Part { first, last: last.min(size - 1) },
        (Ok(first), Err(_), true) => Range::Part { first, last: size - 1 },
        (Err(_), Ok(0), _) if first.is_empty() => Range::Unsatisfiable,
        (Err(_), Ok(_), _) if first.is_empty() && size == 0 => Range::Unsatisfiable,
        (Err(_), Ok(length), _) if first.is_empty() => {
            Range::Part { first: size.saturating_sub(length), last: size - 1 }
        }
        _ => Range::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_size() {
        let part = |first, last| Range::Part { first, last };
        assert_eq!(parse_range("bytes=0-3", 10), part(0, 3));
        assert_eq!(parse_range("bytes=4-99", 10), part(4, 9));
        assert_eq!(parse_range("bytes=9-", 10), part(9, 9));
        assert_eq!(parse_range("bytes=-3", 10), part(7, 9));
        assert_eq!(parse_range("bytes=-99", 10), part(0, 9));
        assert_eq!(parse_range("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=-0", 10), Range::Unsatisfiable);
        assert_eq!(parse_range("bytes=-1", 0), Range::Unsatisfiable);
        for ignored in ["bytes=3-1", "bytes=0-1,4-5", "lines=0-1", "bytes=x-y", "bytes=1-x", "bytes"] {
            assert_eq!(parse_range(ignored, 10), Range::Ignored, "{ignored}");
        }
    }
}
