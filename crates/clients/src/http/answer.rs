//! What a service answered, and what that means to a caller of the traits.

use std::error::Error as _;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::ClientError;

/// Bytes of an answer that are read; a list of every port of a large cloud fits.
const BODY_LIMIT: usize = 256 * 1024 * 1024;
/// Characters of a message that are kept.
const MESSAGE_LIMIT: usize = 1000;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The JSON body; null where there is none, or another.
    pub(super) body: Value,
    /// What is no JSON.
    text: String,
    request_id: Option<String>,
}

impl Answer {
    /// Reads the body.
    pub(super) async fn read(service: &'static str, mut response: Response) -> Result<Self, ClientError> {
        let status = response.status();
        let request_id = header(&response, "x-openstack-request-id");
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| broken(service, error))? {
            if bytes.len() + piece.len() > BODY_LIMIT {
                return Err(ClientError::unavailable(service, format!("an answer of over {BODY_LIMIT} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        let (body, text) = match serde_json::from_slice(&bytes) {
            Ok(body) => (body, String::new()),
            Err(_) if status.is_success() && !bytes.is_empty() => {
                return Err(ClientError::unavailable(service, format!("HTTP {status} with a body that is no JSON")));
            }
            Err(_) => (Value::Null, String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok(Self { status, body, text, request_id })
    }

    /// The body of a success.
    pub(super) fn ok(self) -> Result<Value, Failure> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.failure()) }
    }

    fn failure(self) -> Failure {
        let (kind, message) = said(&self.body, &self.text);
        let message = message.unwrap_or_else(|| self.status.canonical_reason().unwrap_or_default().to_owned());
        let message = message.chars().take(MESSAGE_LIMIT).collect();
        Failure { status: self.status, kind, message, request_id: self.request_id }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// Neutron's name of the exception, or Placement's code.
    pub(super) kind: Option<String>,
    /// In the service's words.
    pub(super) message: String,
    request_id: Option<String>,
}

impl Failure {
    /// As an error about `resource` `id`, which is what a 404 means.
    pub(super) fn error(self, service: &'static str, resource: &'static str, id: impl ToString) -> ClientError {
        match self.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => ClientError::not_found(resource, id),
            _ => self.other(service),
        }
    }

    /// As an error where a 404 is nothing that the caller asked about.
    pub(super) fn other(self, service: &'static str) -> ClientError {
        let kind = self.kind.as_deref().unwrap_or_default();
        match self.status {
            StatusCode::UNAUTHORIZED => ClientError::Unauthorized,
            StatusCode::FORBIDDEN => ClientError::Forbidden(self.message),
            StatusCode::CONFLICT if kind == "placement.concurrent_update" => {
                ClientError::ConcurrentUpdate(self.message)
            }
            StatusCode::CONFLICT if kind == "OverQuota" => ClientError::OverQuota(self.message),
            StatusCode::PAYLOAD_TOO_LARGE => ClientError::OverQuota(self.message),
            StatusCode::CONFLICT => ClientError::Conflict(self.message),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ClientError::BadRequest(self.message),
            _ => self.unavailable(service),
        }
    }

    /// As a failure of the service, whatever the status.
    pub(super) fn unavailable(self, service: &'static str) -> ClientError {
        let request_id = self.request_id.map(|id| format!(" ({id})")).unwrap_or_default();
        ClientError::unavailable(service, format!("HTTP {}: {}{request_id}", self.status.as_u16(), self.message))
    }
}

/// The name and the sentence of an error, in the form of each of the services.
fn said(body: &Value, text: &str) -> (Option<String>, Option<String>) {
    let string = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(error) = body.get("NeutronError") {
        return (string(&error["type"]), string(&error["message"]).or_else(|| string(error)));
    }
    if let Some(error) = body.pointer("/errors/0") {
        return (string(&error["code"]), string(&error["detail"]).or_else(|| string(&error["title"])));
    }
    // Keystone's and Glance's; and Cinder's, whose key is the name of the fault: `{"badRequest": {…}}`.
    let named = || body.as_object()?.values().find_map(|fault| fault.get("message"));
    let message = body.pointer("/error/message").or_else(|| body.get("message")).or_else(named);
    let message = message.and_then(Value::as_str);
    (None, message.map(str::to_owned).or_else(|| plain(text)))
}

/// The words of an HTML page or a plain text.
fn plain(text: &str) -> Option<String> {
    let mut words = String::new();
    let mut is_in_tag = false;
    for character in text.chars() {
        match character {
            '<' => is_in_tag = true,
            '>' if is_in_tag => {
                is_in_tag = false;
                words.push(' ');
            }
            character if !is_in_tag => words.push(character),
            _ => {}
        }
    }
    let words: Vec<&str> = words.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A header's text.
pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// There was no answer, or it broke off.
pub(super) fn broken(service: &'static str, error: reqwest::Error) -> ClientError {
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "no connection",
        () if error.is_body() || error.is_decode() => "the answer broke off",
        () => "the request failed",
    };
    let place = error.url().and_then(|url| Some(format!(" ({}:{})", url.host_str()?, url.port_or_known_default()?)));
    let mut reasons = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        reasons.push(cause.to_string());
        source = cause.source();
    }
    let reason = reasons.pop().map(|reason| format!(": {reason}")).unwrap_or_default();
    ClientError::unavailable(service, format!("{what}{}{reason}", place.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(status: u16, body: Value) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, body, text: String::new(), request_id: Some("req-1".to_owned()) }.ok().unwrap_err()
    }

    #[test]
    fn every_service_is_understood() {
        let neutron = json!({"NeutronError": {"type": "OverQuota", "message": "too many", "detail": ""}});
        let placement = json!({"errors": [{"code": "placement.concurrent_update", "detail": "moved"}]});
        let keystone = json!({"error": {"code": 403, "message": "not you", "title": "Forbidden"}});
        let glance = json!({"code": "400 Bad Request", "title": "Bad Request", "message": "bad"});
        let of = |status, body| failure(status, body).other("s");
        assert_eq!(of(409, neutron), ClientError::OverQuota("too many".to_owned()));
        assert_eq!(of(409, placement), ClientError::ConcurrentUpdate("moved".to_owned()));
        assert_eq!(of(403, keystone), ClientError::Forbidden("not you".to_owned()));
        assert_eq!(of(400, glance), ClientError::BadRequest("bad".to_owned()));
        assert_eq!(of(409, json!({})), ClientError::Conflict("Conflict".to_owned()));
        assert_eq!(of(401, json!({})), ClientError::Unauthorized);
        let reason = ClientError::unavailable("s", "HTTP 503: Service Unavailable (req-1)");
        assert_eq!(of(503, json!({})), reason);
        assert_eq!(failure(404, json!({})).error("s", "port", "x"), ClientError::not_found("port", "x"));
        let missing = ClientError::unavailable("s", "HTTP 404: Not Found (req-1)");
        assert_eq!(failure(404, json!({})).other("s"), missing);
    }

    #[test]
    fn a_page_of_html_is_reduced_to_its_words() {
        let page = "<html>\n <head><title>502 Bad Gateway</title></head><body>\n  nginx </body></html>";
        assert_eq!(plain(page).as_deref(), Some("502 Bad Gateway nginx"));
        assert_eq!(plain(" \n"), None);
    }
}
