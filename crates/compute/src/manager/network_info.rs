//! `inject_network_info`.

use kilonova_core::RequestContext;
use kilonova_objects::Instance;

use super::{Manager, ManagerError};

impl Manager {
    /// Tells an instance its addresses.
    pub async fn inject_network_info(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let injected = self.driver.inject_network_info(&instance, &instance.network_info()).await;
        let injected = injected.map_err(ManagerError::from);
        if let Err(error) = &injected {
            tracing::warn!(instance = %instance.uuid, error = %super::details(error), "addresses were not injected");
            self.record_fault(context, &instance, error).await;
        }
        injected
    }
}
