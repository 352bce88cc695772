//! `get_diagnostics`, `get_instance_diagnostics`: a look at a running guest. Unlike Nova's, a look that fails leaves no
//! fault behind: who asks is told, and nothing happened to the instance.

use kilonova_objects::{Diagnostics, Instance, PowerState};

use super::{Manager, ManagerError};

impl Manager {
    /// What is counted of an instance.
    pub async fn get_instance_diagnostics(&self, instance: &Instance) -> Result<Diagnostics, ManagerError> {
        let state = self.guest_power_state(instance.uuid).await?;
        if state != PowerState::Running {
            return Err(ManagerError::NoDiagnostics { uuid: instance.uuid, state });
        }
        Ok(self.driver.diagnostics(instance).await?)
    }
}
