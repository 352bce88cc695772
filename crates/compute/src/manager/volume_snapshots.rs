//! `volume_snapshot_create`, `volume_snapshot_delete`: the volume service takes a snapshot with the hypervisor's help.

use kilonova_objects::Instance;
use kilonova_rpcapi::compute::VolumeSnapshotDelete;
use serde_json::Value;

use super::{Manager, ManagerError};

impl Manager {
    /// The volume's changes go into another file from now on.
    pub async fn volume_snapshot_create(
        &self,
        instance: &Instance,
        volume_id: &str,
        create_info: &Value,
    ) -> Result<(), ManagerError> {
        Ok(self.driver.volume_snapshot_create(instance, volume_id, create_info).await?)
    }

    /// The files of a snapshot are merged.
    pub async fn volume_snapshot_delete(&self, snapshot: VolumeSnapshotDelete) -> Result<(), ManagerError> {
        let VolumeSnapshotDelete { instance, volume_id, snapshot_id, delete_info } = snapshot;
        Ok(self.driver.volume_snapshot_delete(&instance, &volume_id, &snapshot_id, &delete_info).await?)
    }
}
