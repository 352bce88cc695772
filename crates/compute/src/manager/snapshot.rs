//! `snapshot_instance`, `backup_instance`: an image of a guest's disk.
//!
//! ```text
//!   image_snapshot_pending ──> image_snapshot ──┬──> image_pending_upload ──driver──> image_uploading ──upload──> done
//!                              image_backup ────┘              │                            │
//!                                                              └──── failed: no task, a fault, and no image
//! ```
//!
//! The API made the image, without bytes. One that gets none is deleted, also after a crash: it is found by its
//! property `instance_uuid`.

use kilonova_clients::ClientError;
use kilonova_clients::image::{Image, ImageQuery, ImageUpdate};
use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, Tracked};
use kilonova_rpcapi::notifications::{InstanceAction, InstanceEvent};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::Snapshot;
use uuid::Uuid;

use super::{Manager, ManagerError};

/// What making an image is, beside what it does.
struct ImageAction {
    /// The event that it is recorded as.
    event: &'static str,
    /// The task that the API gave the instance.
    begins_in: TaskState,
    /// The task that it goes on with.
    goes_on_in: TaskState,
    /// The tasks that it is found in.
    tasks: &'static [Option<TaskState>],
}

const SNAPSHOT: ImageAction = ImageAction {
    event: "compute_snapshot_instance",
    begins_in: TaskState::ImageSnapshotPending,
    goes_on_in: TaskState::ImageSnapshot,
    tasks: &[
        Some(TaskState::ImageSnapshotPending),
        Some(TaskState::ImageSnapshot),
        Some(TaskState::ImagePendingUpload),
        Some(TaskState::ImageUploading),
    ],
};
const BACKUP: ImageAction = ImageAction {
    event: "compute_backup_instance",
    begins_in: TaskState::ImageBackup,
    goes_on_in: TaskState::ImageBackup,
    tasks: &[Some(TaskState::ImageBackup), Some(TaskState::ImagePendingUpload), Some(TaskState::ImageUploading)],
};

/// How many backups of a type an instance may have.
struct Rotation {
    backup_type: String,
    kept: usize,
}

/// The tasks of an instance while its disk is copied, and while the copy is uploaded.
pub(super) struct CopyTasks {
    pub(super) pending: TaskState,
    pub(super) uploading: TaskState,
}

const COPY_TASKS: CopyTasks =
    CopyTasks { pending: TaskState::ImagePendingUpload, uploading: TaskState::ImageUploading };

impl Manager {
    /// Makes the image `image_id` of an instance.
    pub async fn snapshot_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        image_id: Uuid,
    ) -> Result<(), ManagerError> {
        Box::pin(self.make_image(context, instance, image_id, &SNAPSHOT, None)).await
    }

    /// Makes the image `image_id` of an instance, and deletes the oldest of its backups of that type, so that there are
    /// `rotation` of them.
    pub async fn backup_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        image_id: Uuid,
        backup_type: String,
        rotation: i64,
    ) -> Result<(), ManagerError> {
        let rotation = Rotation { backup_type, kept: usize::try_from(rotation).unwrap_or(0) };
        Box::pin(self.make_image(context, instance, image_id, &BACKUP, Some(rotation))).await
    }

    async fn make_image(
        &self,
        context: &RequestContext,
        instance: Instance,
        image_id: Uuid,
        action: &ImageAction,
        rotation: Option<Rotation>,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let _slot = self.snapshots.acquire().await.map_err(|_| ManagerError::Invalid("shutting down".to_owned()))?;
        if !self.is_wanted(context, &instance, &[Some(action.begins_in)]).await? {
            tracing::info!(instance = %instance.uuid, image = %image_id, "an image was made already, or is not wanted any more");
            self.delete_unfinished_image(context, image_id).await;
            return Ok(());
        }
        let mut instance = Tracked::new(instance);
        let (uuid, vm_state) = (instance.uuid, instance.vm_state);
        let work = Box::pin(async {
            self.take_image(context, &mut instance, image_id, action).await?;
            if let Some(rotation) = &rotation {
                self.rotate_backups(context, uuid, rotation).await;
            }
            Ok(())
        });
        let result = self.with_event(context, uuid, action.event, work).await;
        if result.is_err() {
            self.delete_unfinished_image(context, image_id).await;
        }
        self.conclude(context, &mut instance, vm_state, action.tasks, result).await
    }

    async fn take_image(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        image_id: Uuid,
        action: &ImageAction,
    ) -> Result<(), ManagerError> {
        instance.power_state = self.power_state(instance.uuid).await;
        instance.task_state = Some(action.goes_on_in);
        self.save(context, instance, Expected::tasks(&[Some(action.begins_in)])).await?;
        let tell = |instance: &Instance, event: InstanceEvent<'_>| {
            // Nova makes images in the name of an administrator.
            self.notifications.instance(&context.elevated(), instance, &event.with_snapshot(image_id));
        };
        tell(instance, InstanceEvent::start(InstanceAction::Snapshot));
        let from = [Some(action.goes_on_in)];
        match Box::pin(self.copy_to_image(context, instance, image_id, &from, &COPY_TASKS)).await {
            Err(ManagerError::Client(ClientError::NotFound { resource: "image", .. })) => {
                tracing::warn!(instance = %instance.uuid, image = %image_id, "an image was deleted while it was made");
            }
            copied => copied?,
        }
        instance.task_state = None;
        self.save(context, instance, Expected::tasks(&[Some(COPY_TASKS.uploading)])).await?;
        tell(instance, InstanceEvent::end(InstanceAction::Snapshot));
        Ok(())
    }

    /// Copies the disk of a guest, whose task is in `from`, into an image that has no bytes yet.
    pub(super) async fn copy_to_image(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        image_id: Uuid,
        from: &[Option<TaskState>],
        tasks: &CopyTasks,
    ) -> Result<(), ManagerError> {
        instance.task_state = Some(tasks.pending);
        self.save(context, instance, Expected::tasks(from)).await?;
        let snapshot = self.driver.snapshot(instance.uuid).await?;
        instance.task_state = Some(tasks.uploading);
        self.save(context, instance, Expected::tasks(&[Some(tasks.pending)])).await?;
        self.upload(context, instance, image_id, &snapshot).await
    }

    async fn upload(
        &self,
        context: &RequestContext,
        instance: &Instance,
        image_id: Uuid,
        snapshot: &Snapshot,
    ) -> Result<(), ManagerError> {
        let service = &self.clients.image;
        let mut properties = service.show(context, image_id).await?.properties;
        let said = [("image_location", "snapshot"), ("image_state", "available"), ("owner_id", instance.project_id())];
        properties.extend(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let update = ImageUpdate {
            disk_format: Some(snapshot.disk_format.clone()),
            container_format: Some("bare".to_owned()),
            properties: Some(properties),
        };
        service.update(context, image_id, &update).await?;
        Ok(service.upload(context, image_id, snapshot.file.path()).await?)
    }

    /// Deletes an image unless it is complete. What cannot be deleted now stays, and is told.
    pub(super) async fn delete_unfinished_image(&self, context: &RequestContext, image_id: Uuid) {
        match self.clients.image.show(context, image_id).await {
            Ok(image) if image.status == "active" => {}
            Ok(_) => self.delete_image(context, image_id).await,
            Err(ClientError::NotFound { .. }) => {}
            Err(error) => tracing::warn!(image = %image_id, %error, "an image that was not finished stays"),
        }
    }

    /// Deletes the images of an instance that were not finished when the agent died.
    pub(super) async fn delete_unfinished_images(&self, context: &RequestContext, instance_uuid: Uuid) {
        let filters = vec![("instance_uuid".to_owned(), instance_uuid.to_string())];
        let query = ImageQuery { filters, ..ImageQuery::default() };
        let is_unfinished = |image: &Image| matches!(image.status.as_str(), "queued" | "saving");
        match self.clients.image.list(context, &query).await {
            Ok(images) => {
                for image in images.iter().filter(|image| is_unfinished(image)) {
                    self.delete_image(context, image.id).await;
                }
            }
            Err(error) => {
                tracing::warn!(instance = %instance_uuid, %error, "images that were not finished cannot be looked for");
            }
        }
    }

    /// Deletes an image that is of no use to anybody. One that is gone is fine.
    pub(super) async fn delete_image(&self, context: &RequestContext, image_id: Uuid) {
        match self.clients.image.delete(context, image_id).await {
            Ok(()) => tracing::debug!(image = %image_id, "image deleted"),
            Err(ClientError::NotFound { .. }) => {}
            Err(error) => tracing::warn!(image = %image_id, %error, "an image could not be deleted"),
        }
    }

    /// Deletes the oldest backups. The new one is made, so nothing of it is a failure.
    async fn rotate_backups(&self, context: &RequestContext, instance_uuid: Uuid, rotation: &Rotation) {
        let filters = [
            ("image_type", "backup".to_owned()),
            ("backup_type", rotation.backup_type.clone()),
            ("instance_uuid", instance_uuid.to_string()),
        ];
        let query = ImageQuery {
            filters: filters.map(|(name, value)| (name.to_owned(), value)).into(),
            sort_key: Some("created_at".to_owned()),
            ..ImageQuery::default()
        };
        match self.clients.image.list(context, &query).await {
            Ok(images) => {
                for image in images.iter().skip(rotation.kept) {
                    self.delete_image(context, image.id).await;
                }
            }
            Err(error) => tracing::warn!(instance = %instance_uuid, %error, "the backups were not rotated"),
        }
    }
}
