//! `/servers` and everything under it.

pub(crate) mod metadata;

use kilonova_objects::Instance;

use crate::policy::Target;

/// The server as a policy target.
pub(crate) fn target(instance: &Instance) -> Target<'_> {
    Target { project_id: instance.project_id(), user_id: instance.user_id.as_deref().unwrap_or_default() }
}
