//! `/os-baremetal-nodes`, up to 2.35: Nova's window on a bare metal service. There is none here, which is 501 to
//! whoever looks; what Nova's clients should do by that service's own tools is 400, as in Nova.

use crate::call::{Answer, Call};
use crate::error::ApiError;
use crate::policy::Target;

/// `GET /os-baremetal-nodes`
pub(crate) async fn index(call: Call) -> Answer {
    no_service(&call)
}

/// `GET /os-baremetal-nodes/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    no_service(&call)
}

/// `POST /os-baremetal-nodes`
pub(crate) async fn create(_call: Call) -> Answer {
    not_here("node-create")
}

/// `DELETE /os-baremetal-nodes/{id}`
pub(crate) async fn delete(_call: Call) -> Answer {
    not_here("node-delete")
}

/// Action `add_interface`
pub(crate) async fn add_interface(_call: Call) -> Answer {
    not_here("port-create")
}

/// Action `remove_interface`
pub(crate) async fn remove_interface(_call: Call) -> Answer {
    not_here("port-delete")
}

fn no_service(call: &Call) -> Answer {
    call.authorize(Target::default())?;
    Err(ApiError::NotImplemented("The requested functionality is not supported.".to_owned()))
}

fn not_here(command: &str) -> Answer {
    Err(ApiError::BadRequest(format!(
        "Command not supported. Please use Ironic command {command} to perform this action."
    )))
}
