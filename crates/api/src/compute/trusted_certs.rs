//! The certificates that the signature of a server's image must lead to. Hosts look at them; those that cannot refuse the
//! server.

use serde_json::{Value, json};

use crate::state::ApiState;

/// Nova's `TrustedCerts` object: of the request, or else of `[glance] default_trusted_certificate_ids`.
pub(super) fn of_request(state: &ApiState, wanted: Option<&[String]>) -> Option<Value> {
    let ids = wanted.unwrap_or(&state.config.default_trusted_certificate_ids);
    (!ids.is_empty()).then(|| {
        json!({
            "nova_object.name": "TrustedCerts",
            "nova_object.namespace": "nova",
            "nova_object.version": "1.0",
            "nova_object.data": {"ids": ids},
        })
    })
}
