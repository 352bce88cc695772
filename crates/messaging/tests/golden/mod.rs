//! Messages as oslo.messaging 18.3 writes them, in the files beside this one: `wire.rs` compares them with what this
//! crate writes, and `interop.rs` with what Python writes today.

use serde_json::{Value, json};

/// What differs from message to message; in the files it is `...`.
const VARYING: [&str; 6] = ["_unique_id", "_msg_id", "_reply_q", "message_id", "timestamp", "tb"];

pub(crate) fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The payload in a body, with a failure's text as the object that it is, and without what varies.
pub(crate) fn payload(body: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(body).unwrap();
    let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["oslo.message", "oslo.version"]);
    assert_eq!(envelope["oslo.version"], "2.0");
    let mut payload: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
    if let Some(failure) = payload.get("failure").and_then(Value::as_str) {
        let mut failure = serde_json::from_str(failure).unwrap();
        blank(&mut failure);
        payload["failure"] = failure;
    }
    blank(&mut payload);
    payload
}

fn blank(object: &mut Value) {
    for (key, value) in object.as_object_mut().unwrap() {
        if VARYING.contains(&key.as_str()) {
            *value = json!("...");
        }
    }
}
