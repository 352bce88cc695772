//! Exceptions that travel: what a method raised at the server, in the form that Python peers rebuild it from.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::MessagingError;

const DISPATCHER_MODULE: &str = "oslo_messaging.rpc.dispatcher";

/// An exception as it is on the wire, in a reply's `failure`.
///
/// A Python peer rebuilds `module.class(*args, **kwargs)` where it knows and allows the class, so both names are
/// Python's. An exception received from one peer can be sent on to another unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteException {
    /// The class, for example `InstanceNotFound`.
    pub class: String,
    /// The module of the class, for example `nova.exception`.
    #[serde(default)]
    pub module: String,
    /// The whole sentence.
    #[serde(default)]
    pub message: String,
    /// Lines of the traceback; may be empty.
    #[serde(default, rename = "tb")]
    pub traceback: Vec<String>,
    /// Positional arguments of the constructor.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Keyword arguments of the constructor.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

impl RemoteException {
    /// `module.class(message)`.
    pub fn new(module: impl Into<String>, class: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            class: class.into(),
            module: module.into(),
            args: vec![Value::String(message.clone())],
            message,
            traceback: Vec::new(),
            kwargs: Map::new(),
        }
    }

    /// Sets the keyword arguments.
    #[must_use]
    pub fn with_kwargs(mut self, kwargs: Map<String, Value>) -> Self {
        self.kwargs = kwargs;
        self
    }

    /// No endpoint of the right namespace and version has the method.
    pub(crate) fn no_such_method(method: &str) -> Self {
        let message = format!("Endpoint does not support RPC method {method}");
        Self::new(DISPATCHER_MODULE, "NoSuchMethod", message)
    }

    /// No endpoint of the namespace can serve the version.
    pub(crate) fn unsupported_version(version: &str, method: &str) -> Self {
        let message = format!("Endpoint does not support RPC version {version}. Attempted method: {method}");
        Self::new(DISPATCHER_MODULE, "UnsupportedVersion", message)
    }

    /// The handler of `method` panicked. `RuntimeError`, because a Python peer can rebuild nothing that is only ours.
    pub(crate) fn panicked(method: &str, cause: &str) -> Self {
        Self::new("builtins", "RuntimeError", format!("RPC method {method} panicked: {cause}"))
    }

    /// The JSON text that a reply's `failure` holds.
    pub fn to_failure(&self) -> Result<String, MessagingError> {
        serde_json::to_string(self).map_err(MessagingError::Encode)
    }

    /// Reads the JSON text of a reply's `failure`.
    pub fn from_failure(text: &str) -> Result<Self, MessagingError> {
        serde_json::from_str(text).map_err(|source| MessagingError::Decode { what: "a remote failure", source })
    }
}

impl fmt::Display for RemoteException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for RemoteException {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exception_is_written_with_the_keys_that_python_reads() {
        let kwargs = Map::from_iter([("instance_id".to_owned(), json!("abc")), ("code".to_owned(), json!(404))]);
        let exception = RemoteException::new("nova.exception", "InstanceNotFound", "Instance abc could not be found.")
            .with_kwargs(kwargs);
        let written: Value = serde_json::from_str(&exception.to_failure().unwrap()).unwrap();
        let expected = json!({
            "class": "InstanceNotFound", "module": "nova.exception",
            "message": "Instance abc could not be found.", "tb": [],
            "args": ["Instance abc could not be found."], "kwargs": {"instance_id": "abc", "code": 404},
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn an_exception_survives_the_round_trip() {
        let mut exception = RemoteException::new("builtins", "ValueError", "un \"mauvais\" numéro");
        exception.traceback = vec!["Traceback\n".to_owned(), "  File\n".to_owned()];
        let failure = exception.to_failure().unwrap();
        assert_eq!(RemoteException::from_failure(&failure).unwrap(), exception);
    }

    #[test]
    fn a_failure_without_a_class_is_a_decode_error() {
        for text in ["", "{}", "[]", "{\"class\": 5}"] {
            let read = RemoteException::from_failure(text);
            assert!(matches!(read, Err(MessagingError::Decode { .. })), "{text:?} was taken");
        }
    }
}
