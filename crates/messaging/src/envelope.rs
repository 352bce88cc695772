//! The oslo.messaging envelope, version 2.0: `{"oslo.version": "2.0", "oslo.message": "<JSON text of the payload>"}`.
//!
//! The payload is JSON inside a JSON string. It is escaped while it is serialised, so that a message is written once,
//! into the buffer that the transport sends.

use std::io;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{MessagingError, Version};

const VERSION: Version = Version::new(2, 0);
const HEAD: &[u8] = b"{\"oslo.version\":\"2.0\",\"oslo.message\":\"";
const TAIL: &[u8] = b"\"}";
/// Room for a request without large arguments.
const INITIAL_CAPACITY: usize = 1024;

/// Writes `payload` in an envelope.
pub fn seal<T: Serialize>(payload: &T) -> Result<Bytes, MessagingError> {
    let mut body = Vec::with_capacity(INITIAL_CAPACITY);
    body.extend_from_slice(HEAD);
    serde_json::to_writer(StringContent(&mut body), payload).map_err(MessagingError::Encode)?;
    body.extend_from_slice(TAIL);
    Ok(Bytes::from(body))
}

/// Reads the payload from a message's body. A JSON object that is no envelope is taken as the bare payload, as
/// oslo.messaging does.
pub fn unseal<T: DeserializeOwned>(body: &[u8]) -> Result<T, MessagingError> {
    let decode = |what| move |source| MessagingError::Decode { what, source };
    let envelope: Envelope = serde_json::from_slice(body).map_err(decode("an envelope"))?;
    let (Some(version), Some(message)) = (envelope.version, envelope.message) else {
        return serde_json::from_slice(body).map_err(decode("a payload without envelope"));
    };
    if !version.parse().is_ok_and(|version| VERSION.is_compatible(version)) {
        return Err(MessagingError::EnvelopeVersion { version });
    }
    serde_json::from_str(&message).map_err(decode("a payload"))
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "oslo.version")]
    version: Option<String>,
    #[serde(rename = "oslo.message")]
    message: Option<String>,
}

/// Appends what is written to it as the content of a JSON string.
struct StringContent<'a>(&'a mut Vec<u8>);

impl io::Write for StringContent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
            self.0.extend_from_slice(&rest[..at]);
            self.push_escaped(rest[at]);
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StringContent<'_> {
    fn push_escaped(&mut self, byte: u8) {
        match byte {
            b'"' | b'\\' => self.0.extend_from_slice(&[b'\\', byte]),
            control => self.0.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            // Quarters are exact in binary, so that the comparison does not test the float parser.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
            any::<String>().prop_map(Value::from),
            "[\"\\\\/\\x00-\\x1f\u{2028}é]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..8).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_unsealed_unchanged(payload in any_json()) {
            let body = seal(&payload).unwrap();
            prop_assert_eq!(unseal::<Value>(&body).unwrap(), payload);
        }

        #[test]
        fn an_envelope_is_json_whose_message_is_json(payload in any_json()) {
            let envelope: Value = serde_json::from_slice(&seal(&payload).unwrap()).unwrap();
            prop_assert_eq!(&envelope["oslo.version"], "2.0");
            prop_assert_eq!(envelope.as_object().unwrap().len(), 2);
            let message: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
            prop_assert_eq!(message, payload);
        }

        #[test]
        fn any_bytes_are_an_answer_and_never_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unseal::<Value>(&body);
        }
    }

    #[test]
    fn control_characters_written_raw_stay_one_json_string() {
        let raw = [Vec::from(b"[1,\n\t2]")];
        let mut body = Vec::new();
        io::Write::write_all(&mut StringContent(&mut body), &raw[0]).unwrap();
        assert_eq!(body, b"[1,\\u000a\\u00092]");
    }

    #[test]
    fn a_body_without_both_keys_is_the_bare_payload() {
        for bare in [json!({"method": "ping"}), json!({"oslo.version": "9.9", "method": "ping"})] {
            assert_eq!(unseal::<Value>(bare.to_string().as_bytes()).unwrap(), bare);
        }
    }

    #[test]
    fn only_envelope_versions_compatible_with_2_0_are_taken() {
        for (version, taken) in [("2.0", true), ("2.1", false), ("1.0", false), ("3.0", false), ("x", false)] {
            let body = json!({"oslo.version": version, "oslo.message": "{}"}).to_string();
            let read = unseal::<Value>(body.as_bytes());
            match taken {
                true => assert_eq!(read.unwrap(), json!({})),
                false => assert!(matches!(read, Err(MessagingError::EnvelopeVersion { .. })), "{version} was taken"),
            }
        }
    }

    #[test]
    fn text_that_is_not_json_is_a_decode_error() {
        let bodies = ["", "{", "null", "5", "\"text\"", "{\"oslo.version\":\"2.0\",\"oslo.message\":\"{\"}"];
        for body in bodies {
            let read = unseal::<Value>(body.as_bytes());
            assert!(matches!(read, Err(MessagingError::Decode { .. })), "{body:?} gave {read:?}");
        }
    }
}
