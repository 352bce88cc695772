//! Saving what a service changed.

use std::slice::from_mut;

use kilonova_core::time::utcnow;
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{Instance, TaskState, VmState};
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use serde_json::{Map, Value};

use super::query::{Lock, add_faults, row};
use super::row::{TABLE, write};
use super::{Deleted, Save, SaveError, metadata};
use crate::workflows::{self, WorkflowKind};
use crate::{Db, DbError, request_specs};

/// Writes the changes if the instance is in an expected state, and returns it whole. The build workflow ends when
/// `vm_state` leaves `building`, and has its lease renewed otherwise; that of an unshelve ends with its task, and so does
/// that of a move, or when a resize is confirmed.
///
/// What cannot be changed like this (`id`, `uuid`, `created_at`, `updated_at`, `deleted_at`, `deleted`) and what is no
/// field at all is an error; `fault` and `services` are not stored here and are passed over, as in Nova.
pub async fn save(db: &Db, save: Save<'_>) -> Result<Instance, SaveError> {
    let (_, after) = save_and_get_original(db, save).await?;
    Ok(*after)
}

/// [`save`] for who must know what it was before: the instance before and after.
pub async fn save_and_get_original(db: &Db, save: Save<'_>) -> Result<(Box<Instance>, Box<Instance>), SaveError> {
    db.retry(|| save_once(db, &save)).await
}

async fn save_once(db: &Db, save: &Save<'_>) -> Result<(Box<Instance>, Box<Instance>), SaveError> {
    let tx = db.begin().await?;
    // Boxed: an instance is large, and futures of callers hold this one.
    let before = Box::new(row(&tx, save.uuid, Deleted::No, Lock::Yes).await?);
    check_states(&before, save.expected_vm_state.as_deref(), save.expected_task_state.as_deref())?;
    let mut after = before.clone();
    apply(&mut after, save.changes)?;
    after.updated_at = Some(utcnow());
    follow_soft_delete(&before, &mut after);
    update(&tx, &before, &after).await?;
    if save.changes.contains_key("metadata") {
        metadata::set(&tx, save.uuid, &after.metadata).await?;
    }
    follow_build(&tx, &before, &after).await?;
    follow_unshelve(&tx, &before, &after).await?;
    follow_move(&tx, &before, &after).await?;
    follow_resize(&tx, &before, &after).await?;
    add_faults(&tx, from_mut(&mut *after)).await?;
    tx.commit().await?;
    Ok((before, after))
}

/// Nova looks at the task first, and has an error of its own for an instance that is being deleted.
pub(super) fn check_states(
    instance: &Instance,
    vm_states: Option<&[VmState]>,
    task_states: Option<&[Option<TaskState>]>,
) -> Result<(), SaveError> {
    let (actual, actual_vm) = (instance.task_state, instance.vm_state);
    if let Some(expected) = task_states.filter(|expected| !expected.contains(&actual)) {
        let expected = expected.to_vec();
        return Err(if actual == Some(TaskState::Deleting) {
            SaveError::UnexpectedDeletingTaskState { expected, actual }
        } else {
            SaveError::UnexpectedTaskState { expected, actual }
        });
    }
    if let Some(expected) = vm_states.filter(|expected| !expected.contains(&actual_vm)) {
        let expected = expected.to_vec();
        return Err(SaveError::UnexpectedVmState { expected, actual: actual_vm });
    }
    Ok(())
}

/// Writes the columns that differ.
pub(super) async fn update(tx: &impl ConnectionTrait, before: &Instance, after: &Instance) -> Result<(), DbError> {
    let columns = write(before)?.into_iter().zip(write(after)?);
    let changed = columns.filter(|(old, new)| old != new).map(|(_, new)| new);
    let changed: Vec<_> = changed.map(|(name, value)| (name, Expr::val(value))).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let mut statement = Query::update();
    statement.table(TABLE).values(changed).and_where(Expr::col("id").eq(before.id));
    tx.execute(&statement).await?;
    Ok(())
}

/// The time of a soft-deleted instance begins when it is so, again when it is deleted once more, and has not begun for
/// one that was restored.
fn follow_soft_delete(before: &Instance, after: &mut Instance) {
    let was = before.vm_state == VmState::SoftDeleted && before.task_state != Some(TaskState::SoftDeleting);
    match (was, after.vm_state == VmState::SoftDeleted) {
        (false, true) if after.task_state.is_none() => after.deleted_at = after.updated_at,
        (true, false) => after.deleted_at = None,
        _ => {}
    }
}

async fn follow_build(tx: &impl ConnectionTrait, before: &Instance, after: &Instance) -> Result<(), DbError> {
    if after.vm_state == VmState::Building {
        workflows::renew(tx, WorkflowKind::Build, after.uuid).await
    } else if before.vm_state == VmState::Building {
        workflows::end(tx, after.uuid, Some(WorkflowKind::Build)).await
    } else {
        Ok(())
    }
}

async fn follow_unshelve(tx: &impl ConnectionTrait, before: &Instance, after: &Instance) -> Result<(), DbError> {
    let unshelving = Some(TaskState::Unshelving);
    if before.task_state == unshelving && after.task_state != unshelving {
        workflows::end(tx, after.uuid, Some(WorkflowKind::Unshelve)).await?;
    }
    Ok(())
}

/// The request spec has the flavor that the instance has: not one that a move failed to give it.
async fn follow_resize(tx: &impl ConnectionTrait, before: &Instance, after: &Instance) -> Result<(), DbError> {
    match &after.flavor {
        Some(flavor) if before.flavor.as_ref().map(|old| old.id) != Some(flavor.id) => {
            Box::pin(request_specs::set_flavor(tx, after.uuid, flavor)).await
        }
        _ => Ok(()),
    }
}

async fn follow_move(tx: &impl ConnectionTrait, before: &Instance, after: &Instance) -> Result<(), DbError> {
    let is_moved = |instance: &Instance| instance.task_state.is_some_and(TaskState::is_move);
    let is_confirmed = before.vm_state == VmState::Resized && after.vm_state != VmState::Resized;
    if is_moved(after) {
        workflows::renew(tx, WorkflowKind::Move, after.uuid).await
    } else if is_moved(before) || is_confirmed {
        workflows::end(tx, after.uuid, Some(WorkflowKind::Move)).await
    } else {
        Ok(())
    }
}

/// Copies the fields that `changes` names.
macro_rules! copy_fields {
    ($name:expr, $from:expr, $to:expr, [$($field:ident),* $(,)?]) => {
        match $name {
            $( stringify!($field) => { $to.$field = $from.$field.clone(); true } )*
            _ => false,
        }
    };
}

pub(super) fn apply(instance: &mut Instance, changes: &Map<String, Value>) -> Result<(), DbError> {
    let uuid = instance.uuid;
    let changed = parse(instance, changes)?;
    for name in changes.keys() {
        if matches!(name.as_str(), "fault" | "services") {
            continue;
        }
        if !copy_field(name, &changed, instance) {
            let reason = format!("the field {name} cannot be changed");
            return Err(DbError::corrupt("instance", uuid, reason));
        }
    }
    Ok(())
}

/// The changes as an instance, in which only the fields of these names mean anything.
fn parse(instance: &Instance, changes: &Map<String, Value>) -> Result<Instance, DbError> {
    let mut data = changes.clone();
    data.insert("uuid".to_owned(), instance.uuid.to_string().into());
    data.entry("vm_state").or_insert_with(|| instance.vm_state.as_str().into());
    Instance::from_data(&data).map_err(|error| DbError::corrupt("instance", instance.uuid, error))
}

fn copy_field(name: &str, from: &Instance, to: &mut Instance) -> bool {
    copy_fields!(
        name,
        from,
        to,
        [
            user_id,
            project_id,
            image_ref,
            kernel_id,
            ramdisk_id,
            hostname,
            launch_index,
            key_name,
            key_data,
            power_state,
            vm_state,
            task_state,
            memory_mb,
            vcpus,
            root_gb,
            ephemeral_gb,
            ephemeral_key_uuid,
            host,
            node,
            compute_id,
            instance_type_id,
            user_data,
            reservation_id,
            launched_at,
            terminated_at,
            availability_zone,
            display_name,
            display_description,
            launched_on,
            locked,
            locked_by,
            os_type,
            architecture,
            vm_mode,
            root_device_name,
            default_ephemeral_device,
            default_swap_device,
            config_drive,
            access_ip_v4,
            access_ip_v6,
            auto_disk_config,
            progress,
            shutdown_terminate,
            disable_terminate,
            cell_name,
            metadata,
            system_metadata,
            info_cache,
            security_groups,
            cleaned,
            pci_devices,
            numa_topology,
            pci_requests,
            device_metadata,
            tags,
            flavor,
            old_flavor,
            new_flavor,
            vcpu_model,
            ec2_ids,
            migration_context,
            keypairs,
            trusted_certs,
            hidden,
            resources,
        ]
    )
}
