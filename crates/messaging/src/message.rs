//! The payloads: a request, as a client writes it and a server reads it, and a reply, the other way round.
//!
//! Writing borrows (`RequestRef`, `ReplyRef`), reading owns (`Request`, `Reply`): arguments are never cloned.

use std::fmt;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{Args, Context, Version};

const CONTEXT_PREFIX: &str = "_context_";

/// A request as the client writes it.
#[derive(Clone, Copy, Debug)]
pub struct RequestRef<'a> {
    /// The method to run.
    pub method: &'a str,
    /// Its arguments.
    pub args: &'a Args,
    /// The namespace of the endpoint; not written when `None`.
    pub namespace: Option<&'a str>,
    /// The version that the message needs; not written when `None`.
    pub version: Option<Version>,
    /// Tells one message from another, for the duplicate filter.
    pub unique_id: &'a str,
    /// The request context.
    pub context: &'a Context,
    /// Where the reply goes: a call has it, a cast has not.
    pub reply_to: Option<ReplyToRef<'a>>,
}

/// The part of a request that makes it a call.
#[derive(Clone, Copy, Debug)]
pub struct ReplyToRef<'a> {
    /// Tells the client which call a reply belongs to.
    pub msg_id: &'a str,
    /// The client's reply queue.
    pub reply_q: &'a str,
    /// How long the client waits without a sign of life. Written in seconds; `None` is written as null.
    pub call_monitor_timeout: Option<Duration>,
}

impl Serialize for RequestRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("method", self.method)?;
        map.serialize_entry("args", self.args)?;
        if let Some(namespace) = self.namespace {
            map.serialize_entry("namespace", namespace)?;
        }
        if let Some(version) = self.version {
            map.serialize_entry("version", &AsText(version))?;
        }
        map.serialize_entry("_unique_id", self.unique_id)?;
        ContextRef(self.context).serialize_entries(&mut map)?;
        if let Some(reply_to) = &self.reply_to {
            map.serialize_entry("_msg_id", reply_to.msg_id)?;
            map.serialize_entry("_reply_q", reply_to.reply_q)?;
            map.serialize_entry("_timeout", &reply_to.call_monitor_timeout.map(seconds))?;
        }
        map.end()
    }
}

/// A context, as entries of the message that carries it.
pub(crate) struct ContextRef<'a>(pub(crate) &'a Context);

impl ContextRef<'_> {
    pub(crate) fn serialize_entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (key, value) in self.0 {
            map.serialize_entry(&AsText(format_args!("{CONTEXT_PREFIX}{key}")), value)?;
        }
        Ok(())
    }
}

/// Serialises what can be displayed as a string, without a string in between.
struct AsText<T>(T);

impl<T: fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Whole seconds as an integer, which is what Python services send.
fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => Value::from(duration.as_secs()),
        _ => Value::from(duration.as_secs_f64()),
    }
}

/// A request as the server reads it. Keys that oslo.messaging does not define are ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The method to run.
    pub method: String,
    /// Its arguments.
    pub args: Args,
    /// The namespace of the endpoint.
    pub namespace: Option<String>,
    /// The version that the message needs, as sent; `None` means 1.0.
    pub version: Option<String>,
    /// Tells one message from another.
    pub unique_id: Option<String>,
    /// The request context.
    pub context: Context,
    /// Tells the client which call a reply belongs to.
    pub msg_id: Option<String>,
    /// The client's reply queue.
    pub reply_q: Option<String>,
    /// How long the client waits without a sign of life, in seconds.
    pub timeout_s: Option<f64>,
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestVisitor)
    }
}

struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Request, M::Error> {
        let mut request = Request::default();
        let mut method = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "method" => method = Some(map.next_value()?),
                "args" => request.args = map.next_value::<Option<Args>>()?.unwrap_or_default(),
                "namespace" => request.namespace = map.next_value()?,
                "version" => request.version = map.next_value()?,
                "_unique_id" => request.unique_id = map.next_value()?,
                "_msg_id" => request.msg_id = map.next_value()?,
                "_reply_q" => request.reply_q = map.next_value()?,
                "_timeout" => request.timeout_s = map.next_value()?,
                other => match other.strip_prefix(CONTEXT_PREFIX) {
                    Some(name) => drop(request.context.insert(name.to_owned(), map.next_value()?)),
                    None => drop(map.next_value::<IgnoredAny>()?),
                },
            }
        }
        request.method = method.ok_or_else(|| serde::de::Error::missing_field("method"))?;
        Ok(request)
    }
}

/// A reply as the server writes it: the end of a call, or a sign of life while it runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReplyRef<'a> {
    /// What the method returned; null in a heartbeat and beside a failure.
    pub result: &'a Value,
    /// What the method raised, as the JSON text of [`crate::RemoteException`].
    pub failure: Option<&'a str>,
    /// Whether this is the last message of the call.
    pub ending: bool,
    /// The call that this answers.
    #[serde(rename = "_msg_id")]
    pub msg_id: &'a str,
    /// Tells one message from another.
    #[serde(rename = "_unique_id")]
    pub unique_id: &'a str,
}

/// A reply as the client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Reply {
    /// What the method returned, or null.
    #[serde(default)]
    pub result: Value,
    /// What the method raised, as JSON text.
    #[serde(default)]
    pub failure: Option<String>,
    /// Whether this is the last message of the call.
    #[serde(default)]
    pub ending: bool,
    /// The call that this answers.
    #[serde(rename = "_msg_id")]
    pub msg_id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn written<T: Serialize>(payload: &T) -> Value {
        let envelope: Value = serde_json::from_slice(&crate::envelope::seal(payload).unwrap()).unwrap();
        assert_eq!(envelope["oslo.version"], "2.0");
        serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_call_is_written_with_the_keys_of_oslo_messaging() {
        let args = object(json!({"instance": {"nova_object.name": "Instance"}, "limits": {}}));
        let context = object(json!({"request_id": "req-1", "roles": ["member"], "is_admin": false}));
        let reply_to =
            ReplyToRef { msg_id: "0a0b", reply_q: "reply_0c0d", call_monitor_timeout: Some(Duration::from_secs(60)) };
        let request = RequestRef {
            method: "build_instances",
            args: &args,
            namespace: Some("compute_task"),
            version: Some(Version::new(1, 26)),
            unique_id: "0e0f",
            context: &context,
            reply_to: Some(reply_to),
        };
        let expected = json!({
            "method": "build_instances",
            "args": {"instance": {"nova_object.name": "Instance"}, "limits": {}},
            "namespace": "compute_task", "version": "1.26", "_unique_id": "0e0f",
            "_context_request_id": "req-1", "_context_roles": ["member"], "_context_is_admin": false,
            "_msg_id": "0a0b", "_reply_q": "reply_0c0d", "_timeout": 60,
        });
        assert_eq!(written(&request), expected);

        let unmonitored = ReplyToRef { call_monitor_timeout: None, ..reply_to };
        let request = RequestRef { reply_to: Some(unmonitored), ..request };
        assert_eq!(written(&request)["_timeout"], Value::Null);
    }

    #[test]
    fn a_cast_has_no_reply_keys_and_leaves_out_what_is_none() {
        let (args, context) = (Args::new(), Context::new());
        let request = RequestRef {
            method: "ping",
            args: &args,
            namespace: None,
            version: None,
            unique_id: "0e0f",
            context: &context,
            reply_to: None,
        };
        assert_eq!(written(&request), json!({"method": "ping", "args": {}, "_unique_id": "0e0f"}));
    }

    #[test]
    fn a_request_is_read_with_context_unprefixed_and_unknown_keys_ignored() {
        let text = json!({
            "method": "ping", "args": {"arg": 1}, "version": "1.1", "namespace": "baseapi",
            "_unique_id": "u", "_msg_id": "m", "_reply_q": "q", "_timeout": 2,
            "_context_request_id": "req-1", "_context__context_x": 5, "_future": [1, 2],
        });
        let request: Request = serde_json::from_str(&text.to_string()).unwrap();
        let expected = Request {
            method: "ping".to_owned(),
            args: object(json!({"arg": 1})),
            namespace: Some("baseapi".to_owned()),
            version: Some("1.1".to_owned()),
            unique_id: Some("u".to_owned()),
            context: object(json!({"request_id": "req-1", "_context_x": 5})),
            msg_id: Some("m".to_owned()),
            reply_q: Some("q".to_owned()),
            timeout_s: Some(2.0),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_request_may_lack_everything_but_its_method() {
        let request: Request = serde_json::from_str(r#"{"method": "ping", "args": null, "_timeout": null}"#).unwrap();
        assert_eq!(request, Request { method: "ping".to_owned(), ..Request::default() });
        for bad in ["{}", "[]", r#"{"method": null}"#, r#"{"method": "x", "args": []}"#] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_reply_is_written_with_all_its_keys() {
        let result = json!({"a": 1});
        let reply = ReplyRef { result: &result, failure: None, ending: true, msg_id: "m", unique_id: "u" };
        let expected = json!({"result": {"a": 1}, "failure": null, "ending": true, "_msg_id": "m", "_unique_id": "u"});
        assert_eq!(written(&reply), expected);
    }

    #[test]
    fn a_reply_without_ending_is_not_the_last() {
        let reply: Reply = serde_json::from_str(r#"{"_msg_id": "m", "log_failure": true}"#).unwrap();
        assert_eq!(reply, Reply { result: Value::Null, failure: None, ending: false, msg_id: "m".to_owned() });
    }
}
