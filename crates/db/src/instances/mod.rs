//! Instances with all that hangs on their row. One operation per file.

mod create;
mod destroy;
mod filter;
mod info_cache;
mod metadata;
mod query;
mod row;
mod save;
mod start_action;
mod start_move;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kilonova_objects::{BlockDeviceMapping, Instance, PowerState, RequestSpec, TaskState, VmState};
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::Query;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sql::{chunks, uuid_in};
use crate::workflows::NewWorkflow;
use crate::{DbError, Failure};

pub(crate) use create::take_turn;
pub use create::{create, usage};
pub use destroy::destroy;
pub use info_cache::update_network_info;
pub use metadata::{delete_metadata, update_metadata};
pub use query::{active_by_window, by_host, get, list, list_asked, list_brief};
pub use save::{save, save_and_get_original};
pub use start_action::{start_action, start_action_in_zone, start_action_with};
pub use start_move::{MoveRecord, StartMove, start_move};

/// One server of a create request.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// Whole but for its `id`: uuid, metadata, system_metadata, flavor, keypairs, tags, security_groups, info_cache.
    pub instance: Instance,
    /// Its disks.
    pub block_devices: Vec<BlockDeviceMapping>,
    /// What it was asked with.
    pub request_spec: RequestSpec,
    /// What the build workflow needs to know.
    pub workflow_payload: Value,
}

/// How much a project may use; below 0 is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Servers.
    pub instances: i64,
    /// vCPUs of all servers.
    pub cores: i64,
    /// MiB of all servers.
    pub ram: i64,
}

impl QuotaLimits {
    /// No limit at all.
    pub const UNLIMITED: Self = Self { instances: -1, cores: -1, ram: -1 };
}

/// How much is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Servers.
    pub instances: i64,
    /// vCPUs of all servers.
    pub cores: i64,
    /// MiB of all servers.
    pub ram: i64,
}

/// How servers join a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The group.
    pub uuid: Uuid,
    /// How many servers of the user it may have; below 0 is without limit.
    pub max_members: i64,
}

/// The servers of one create request.
#[derive(Clone, Debug)]
pub struct Create {
    /// The servers.
    pub new: Vec<NewInstance>,
    /// The request that asked.
    pub request_id: String,
    /// Who asked.
    pub user_id: String,
    /// For which project, whose use is checked.
    pub project_id: String,
    /// Checked against the project's use inside the transaction.
    pub quota: QuotaLimits,
    /// The server group that all of them join.
    pub group: Option<JoinGroup>,
    /// Who works on the builds first.
    pub lease_owner: String,
    /// For how long nobody else does.
    pub lease: Duration,
}

/// Why no server was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The project would use more than it may.
    #[error("over quota: {}", overs.join(", "))]
    OverQuota {
        /// Which of `instances`, `cores`, `ram`.
        overs: Vec<&'static str>,
        /// What was used before.
        used: Usage,
        /// What may be used.
        limits: QuotaLimits,
    },
    /// The user would have more servers in the group than allowed.
    #[error("over quota: server_group_members")]
    GroupIsFull,
    /// The database refused or failed. The group that is gone is [`DbError::NotFound`] with resource `server group`.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Failure for CreateError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Db(error) => Some(error),
            Self::OverQuota { .. } | Self::GroupIsFull => None,
        }
    }
}

/// Whether deleted rows count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deleted {
    /// They do not.
    #[default]
    No,
    /// They do too.
    Yes,
    /// Only they do.
    Only,
}

/// What of an instance is read beside the always needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand {
    /// `Instance::metadata`.
    pub metadata: bool,
    /// `Instance::fault`, by a statement of its own where one is in error.
    pub faults: bool,
}

impl Default for Expand {
    fn default() -> Self {
        Self { metadata: true, faults: true }
    }
}

/// Which instances to list, in which order. The default is all that are not deleted, newest first.
///
/// Regular expressions match anywhere in the text, with upper and lower case as written (the API has checked that they
/// are ones); everything else is compared as a whole.
#[derive(Clone, Debug, Default)]
pub struct InstanceQuery {
    /// Of this project.
    pub project_id: Option<String>,
    /// Of this user.
    pub user_id: Option<String>,
    /// On this host.
    pub host: Option<String>,
    /// On this hypervisor.
    pub node: Option<String>,
    /// Among these.
    pub uuids: Option<Vec<Uuid>>,
    /// Regular expression on `display_name`.
    pub name: Option<String>,
    /// Regular expression on `hostname`.
    pub hostname: Option<String>,
    /// From this image; the empty string: booted from a volume.
    pub image_ref: Option<String>,
    /// In this flavor, by the id that the API shows.
    pub flavorid: Option<String>,
    /// Of this create request.
    pub reservation_id: Option<String>,
    /// In this zone.
    pub availability_zone: Option<String>,
    /// With this key.
    pub key_name: Option<String>,
    /// Regular expression on the beginning of any fixed IPv4 address. With `ip6` too, one of both is enough.
    pub ip: Option<String>,
    /// Regular expression on the beginning of any fixed IPv6 address.
    pub ip6: Option<String>,
    /// In one of these states, as `states_of_status` gives them.
    pub states: Option<Vec<(VmState, Vec<Option<TaskState>>)>>,
    /// In this state.
    pub vm_state: Option<VmState>,
    /// In this task.
    pub task_state: Option<TaskState>,
    /// In this power state.
    pub power_state: Option<PowerState>,
    /// Locked, or not.
    pub locked: Option<bool>,
    /// With all these pairs of metadata.
    pub metadata: Vec<(String, String)>,
    /// With all these pairs of system metadata.
    pub system_metadata: Vec<(String, String)>,
    /// With all these tags.
    pub tags: Vec<String>,
    /// With one of these tags.
    pub tags_any: Vec<String>,
    /// Not with all of these tags.
    pub not_tags: Vec<String>,
    /// With none of these tags.
    pub not_tags_any: Vec<String>,
    /// With a config drive, or without.
    pub config_drive: Option<bool>,
    /// Regular expression on `display_description`.
    pub description: Option<String>,
    /// This place in a multi-create.
    pub launch_index: Option<i64>,
    /// With this root device.
    pub root_device_name: Option<String>,
    /// With this kernel image.
    pub kernel_id: Option<String>,
    /// With this ramdisk image.
    pub ramdisk_id: Option<String>,
    /// With this progress.
    pub progress: Option<i64>,
    /// Terminated then.
    pub terminated_at: Option<DateTime<Utc>>,
    /// Launched then.
    pub launched_at: Option<DateTime<Utc>>,
    /// Created then.
    pub created_at: Option<DateTime<Utc>>,
    /// Updated (or, if never, created) at this time or later.
    pub changes_since: Option<DateTime<Utc>>,
    /// Updated (or, if never, created) at this time or earlier.
    pub changes_before: Option<DateTime<Utc>>,
    /// Whether deleted ones count.
    pub deleted: Deleted,
    /// Whether soft-deleted ones, which can be restored, pass for deleted: for users they do, for services they do not.
    pub soft_deleted_is_deleted: bool,
    /// Nova's sort keys, each with whether it goes down. `created_at` and `id`, in the direction of the first key, are
    /// added; without any key they go down.
    pub sort: Vec<(String, bool)>,
    /// At most this many.
    pub limit: Option<u64>,
    /// Only what comes after this instance, which may be deleted; [`DbError::NotFound`] with resource `marker`.
    pub marker: Option<Uuid>,
    /// What to read beside the always needed.
    pub with: Expand,
}

/// A compare-and-swap on an instance.
#[derive(Clone, Debug)]
pub struct Save<'a> {
    /// Which instance.
    pub uuid: Uuid,
    /// Field name → value as in `nova_object.data`.
    pub changes: &'a Map<String, Value>,
    /// The states that it must be in; `None`: any.
    pub expected_vm_state: Option<Vec<VmState>>,
    /// The tasks that it must be in; `None`: any.
    pub expected_task_state: Option<Vec<Option<TaskState>>>,
}

/// Why an instance was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It is in another task.
    #[error("unexpected task state {actual:?}, expected {expected:?}")]
    UnexpectedTaskState {
        /// What was expected.
        expected: Vec<Option<TaskState>>,
        /// What it is in.
        actual: Option<TaskState>,
    },
    /// It is being deleted.
    #[error("the instance is being deleted, expected task state {expected:?}")]
    UnexpectedDeletingTaskState {
        /// What was expected.
        expected: Vec<Option<TaskState>>,
        /// What it is in.
        actual: Option<TaskState>,
    },
    /// It is in another state.
    #[error("unexpected vm state {actual}, expected {expected:?}")]
    UnexpectedVmState {
        /// What was expected.
        expected: Vec<VmState>,
        /// What it is in.
        actual: VmState,
    },
    /// The database refused or failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Failure for SaveError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Db(error) => Some(error),
            _ => None,
        }
    }
}

/// An action that begins.
#[derive(Clone, Debug)]
pub struct StartAction {
    /// On which instance.
    pub uuid: Uuid,
    /// Nova's name of it: `stop`, `reboot`, `delete`.
    pub action: &'static str,
    /// The task that the instance is in from now on.
    pub task_state: TaskState,
    /// The states that it must be in; `None`: any.
    pub expected_vm_states: Option<Vec<VmState>>,
    /// The tasks that it must be in; `None`: any.
    pub expected_task_states: Option<Vec<Option<TaskState>>>,
    /// The request that asked.
    pub request_id: String,
    /// Who asked.
    pub user_id: String,
    /// For which project.
    pub project_id: String,
    /// The work that it starts. One of the same kind that is under way already goes on instead.
    pub workflow: Option<NewWorkflow>,
}

/// The instances with these uuids, whole, in their order.
async fn stored(conn: &impl ConnectionTrait, uuids: &[Uuid]) -> Result<Vec<Instance>, DbError> {
    let mut found = Vec::with_capacity(uuids.len());
    let mut decoder = row::Decoder::new(Expand::default());
    for uuids in chunks(uuids) {
        let mut statement = Query::select();
        statement.columns(row::READ).from(row::TABLE).and_where(uuid_in("uuid", uuids));
        for row in conn.query_all(&statement).await? {
            found.push(decoder.instance(&row)?);
        }
    }
    let places: HashMap<Uuid, usize> = uuids.iter().copied().zip(0..).collect();
    found.sort_by_key(|instance| places.get(&instance.uuid).copied());
    query::add_faults(conn, &mut found).await?;
    Ok(found)
}
