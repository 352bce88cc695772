//! Whether a project exists.

use super::ComputeError;
use crate::state::ApiState;

/// Refuses a project that the identity service does not know. Where that cannot be found out the project is believed,
/// as in Nova.
pub(crate) async fn check(state: &ApiState, project_id: &str) -> Result<(), ComputeError> {
    match state.clients.identity.project_exists(project_id).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ComputeError::Invalid(format!("Project ID {project_id} is not a valid project."))),
        Err(error) => {
            tracing::warn!(project_id, %error, "cannot find out whether a project exists");
            Ok(())
        }
    }
}
