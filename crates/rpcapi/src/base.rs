//! The `baseapi` namespace that every service answers in.

use kilonova_messaging::{Endpoint, Version};
use serde_json::{Value, json};

use crate::method::{register, rpc_method};

/// Namespace of these methods.
pub const NAMESPACE: &str = "baseapi";

rpc_method! {
    /// Asks a service whether it is there.
    Ping = "ping", Some(NAMESPACE), (1, 0), { arg: Value } -> Value
}

/// The endpoint that answers for `service` (`compute`, `conductor`, `scheduler`).
pub fn endpoint(service: &'static str) -> Endpoint {
    register(Endpoint::new(Some(NAMESPACE), Version::new(1, 1)), move |_, ping: Ping| async move {
        Ok(json!({"service": service, "arg": ping.arg}))
    })
}
