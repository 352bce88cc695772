//! What can go wrong, and how Glance tells it: as JSON to who accepts that, else as WebOb's HTML page.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kilonova_db::DbError;
use serde_json::json;

use crate::web::BodyError;

/// Why the image service did not do what it was asked. The text is what the user sees.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409.
    #[error("{0}")]
    Conflict(String),
    /// 410: deleted during the upload.
    #[error("{0}")]
    Gone(String),
    /// 413: a limit, or the disk, is full.
    #[error("{0}")]
    TooLarge(String),
    /// 415.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 416: the range is outside of the image of that many bytes.
    #[error("the range is not within the image")]
    RangeNotSatisfiable(u64),
    /// 500: the database failed.
    #[error("the database failed")]
    Database(#[from] DbError),
    /// 500: the image store failed.
    #[error("the image store failed")]
    Store(#[from] std::io::Error),
    /// 500: a task of the service died.
    #[error("a task of the image service died")]
    Task(#[from] tokio::task::JoinError),
}

impl ImageError {
    pub(super) fn no_image(id: impl std::fmt::Display) -> Self {
        Self::NotFound(format!("No image found with ID {id}"))
    }

    /// As Glance's policy refuses: `action` is a policy name like `publicize_image`.
    pub(super) fn not_authorized(action: &str) -> Self {
        Self::Forbidden(format!("You are not authorized to complete {action} action."))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Database(_) | Self::Store(_) | Self::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<BodyError> for ImageError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::TooLarge(format!("Request body is larger than {limit} bytes.")),
            BodyError::Broken => Self::BadRequest("The request body ended early.".to_owned()),
            BodyError::Malformed(reason) => Self::BadRequest(format!("Malformed JSON in request body: {reason}")),
        }
    }
}

/// The text of an error on its way to [`render_errors`].
#[derive(Clone)]
struct Explanation(String);

impl IntoResponse for ImageError {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = if status.is_server_error() {
            let cause = std::error::Error::source(&self).map(ToString::to_string).unwrap_or_default();
            tracing::error!(error = %self, cause, "the image service failed");
            "The server has either erred or is incapable of performing the requested operation.".to_owned()
        } else {
            self.to_string()
        };
        let mut response = status.into_response();
        if let Self::RangeNotSatisfiable(size) = self
            && let Ok(value) = format!("bytes */{size}").parse()
        {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        response.extensions_mut().insert(Explanation(text));
        response
    }
}

/// Gives errors the body that the caller accepts.
pub(super) async fn render_errors(request: Request, next: Next) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let wants_json = accept.contains("application/json") && !accept.contains("text/html");
    let mut response = next.run(request).await;
    let Some(Explanation(text)) = response.extensions_mut().remove() else { return response };
    let (content_type, body) =
        if wants_json { json_body(response.status(), &text) } else { html_body(response.status(), &text) };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

fn json_body(status: StatusCode, text: &str) -> (&'static str, String) {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"code": format!("{} {title}", status.as_u16()), "title": title, "message": text});
    ("application/json", body.to_string())
}

fn html_body(status: StatusCode, text: &str) -> (&'static str, String) {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n  {text}<br /><br />\n </body>\n</html>\n"
    );
    ("text/html; charset=UTF-8", body)
}
