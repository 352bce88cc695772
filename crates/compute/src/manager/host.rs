//! What is done to the host itself: `set_host_enabled`, `host_power_action`, `host_maintenance_mode`, `cache_images`.

use std::collections::BTreeMap;

use kilonova_core::RequestContext;
use kilonova_virt::DriverError;
use serde_json::json;

use super::{Manager, ManagerError};

impl Manager {
    /// Lets this host take new servers, or not: placement is told, and the driver.
    pub async fn set_host_enabled(&self, context: &RequestContext, enabled: bool) -> Result<String, ManagerError> {
        self.tracker.set_enabled(context, enabled).await?;
        Ok(self.driver.set_host_enabled(enabled).await?)
    }

    /// `startup`, `shutdown` or `reboot`.
    pub async fn host_power_action(&self, action: &str) -> Result<String, ManagerError> {
        Ok(self.driver.host_power_action(action).await?)
    }

    /// Begins or ends the maintenance of this host.
    pub async fn host_maintenance_mode(&self, mode: bool) -> Result<String, ManagerError> {
        Ok(self.driver.host_maintenance_mode(mode).await?)
    }

    /// Has images ready before they are needed; what became of each. A failure with one is no failure with the others.
    pub async fn cache_images(&self, context: &RequestContext, image_ids: Vec<String>) -> BTreeMap<String, String> {
        let mut results = BTreeMap::new();
        for image_id in image_ids {
            let result = match self.cache_image(context, &image_id).await {
                Ok(true) => "cached",
                Ok(false) => "existing",
                Err(ManagerError::Driver(DriverError::NotSupported(_))) => "unsupported",
                Err(error) => {
                    tracing::error!(image_id, %error, "an image could not be cached");
                    "error"
                }
            };
            results.insert(image_id, result.to_owned());
        }
        results
    }

    async fn cache_image(&self, context: &RequestContext, image_id: &str) -> Result<bool, ManagerError> {
        match self.disk_image(context, &json!({"id": image_id})).await? {
            Some(image) => Ok(self.driver.cache_image(&image).await?),
            None => Err(ManagerError::Invalid(format!("{image_id} is no image"))),
        }
    }
}
