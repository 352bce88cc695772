//! The manager: what is done on this host, one operation per file. It decides; the driver does.

mod action;
mod admin_password;
mod build;
mod console;
mod crash_dump;
mod device_names;
mod diagnostics;
mod evacuate;
mod events;
mod external_events;
mod host;
mod image;
mod init_host;
mod interfaces;
mod live_migration;
mod moves;
mod network_info;
mod notify;
mod orphans;
mod pause;
mod power;
mod rebuild;
mod remote_consoles;
mod rescue;
mod resize;
mod save;
mod shelve;
mod snapshot;
mod soft_delete;
mod stale_tasks;
mod suspend;
mod sync_power_states;
mod terminate;
mod usage_audit;
mod volume_snapshots;
mod volumes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kilonova_clients::{ClientError, Clients};
use kilonova_core::RequestContext;
use kilonova_messaging::RemoteException;
use kilonova_objects::{Instance, InstanceFault, PowerState};
use kilonova_rpcapi::{ComputeApi, ConductorApi, Notifications, RpcError};
use kilonova_virt::{Driver, DriverError};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::ComputeConfig;
use crate::locks::InstanceLocks;
use crate::resource_tracker::ResourceTracker;
use live_migration::Underway;
use stale_tasks::StaleTasks;

/// The manager of one host. Shared by the tasks of all messages.
pub struct Manager {
    config: ComputeConfig,
    conductor: ConductorApi,
    /// The other agents.
    peers: ComputeApi,
    clients: Clients,
    driver: Arc<dyn Driver>,
    notifications: Notifications,
    tracker: ResourceTracker,
    locks: InstanceLocks,
    builds: Semaphore,
    snapshots: Semaphore,
    /// Turns of live migrations from here.
    live_migrations: Semaphore,
    underway: Underway,
    stale: StaleTasks,
    /// Power states at the last look of [`Manager::watch_guests`], or as the conductor has them.
    seen_guests: Mutex<HashMap<Uuid, PowerState>>,
}

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The hypervisor or the host.
    #[error(transparent)]
    Driver(DriverError),
    /// Another service of the cloud.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The conductor refused, or does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Another host has the instance now.
    #[error("the instance is on another host now")]
    Elsewhere,
    /// The request makes no sense on this host.
    #[error("{0}")]
    Invalid(String),
    /// One of Nova's exceptions, for the caller.
    #[error("{}", .0.message)]
    Raised(RemoteException),
    /// The guest could not be started from another image. The driver's error is part of Nova's sentence.
    #[error("Instance {uuid} cannot be rescued: Driver Error: {error}")]
    NotRescuable {
        /// The instance.
        uuid: Uuid,
        /// What the driver says.
        error: DriverError,
    },
    /// The administrator's password is what it was.
    #[error("Failed to set admin password on {uuid} because {reason}")]
    PasswordSetFailed {
        /// The instance.
        uuid: Uuid,
        /// Why, without the password.
        reason: String,
    },
    /// Nothing is counted of a guest that does not run.
    #[error("Instance {uuid} in power state {}. Cannot get_diagnostics while the instance is in this state.", .state.as_str())]
    NoDiagnostics {
        /// The instance.
        uuid: Uuid,
        /// What the guest does instead.
        state: PowerState,
    },
}

impl From<DriverError> for ManagerError {
    fn from(error: DriverError) -> Self {
        match error {
            // The driver asked the image service, by way of us.
            DriverError::ImageFetch(error) => match error.downcast::<ClientError>() {
                Ok(error) => Self::Client(*error),
                Err(error) => Self::Driver(DriverError::ImageFetch(error)),
            },
            error => Self::Driver(error),
        }
    }
}

impl ManagerError {
    /// The instance is being deleted, or is gone: what is being done to it ends without a fault.
    fn is_deletion(&self) -> bool {
        match self {
            Self::Rpc(error) => error.is("UnexpectedDeletingTaskStateError") || error.is("InstanceNotFound"),
            Self::Raised(exception) => exception.class == "InstanceNotFound",
            _ => false,
        }
    }

    /// The driver tried, and failed.
    fn is_of_driver(&self) -> bool {
        match self {
            Self::Driver(error) => !matches!(error, DriverError::NotSupported(_)),
            Self::NotRescuable { .. } => true,
            _ => false,
        }
    }

    /// Somebody else does something to the instance now: theirs counts.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Rpc(error) => error.is("UnexpectedTaskStateError") || error.is("InstanceUpdateConflict"),
            Self::Elsewhere => true,
            _ => false,
        }
    }
}

impl Manager {
    /// A manager that was not started: see [`crate::ComputeService`].
    pub fn new(config: ComputeConfig, conductor: ConductorApi, clients: Clients, driver: Arc<dyn Driver>) -> Self {
        Self {
            tracker: ResourceTracker::new(&config, conductor.clone(), clients.placement.clone(), driver.clone()),
            builds: at_most(config.max_concurrent_builds),
            snapshots: at_most(config.max_concurrent_snapshots),
            live_migrations: at_most(config.max_concurrent_live_migrations),
            underway: Underway::default(),
            peers: ComputeApi::beside(&conductor),
            stale: StaleTasks::default(),
            seen_guests: Mutex::default(),
            locks: InstanceLocks::default(),
            config,
            conductor,
            clients,
            driver,
            notifications: Notifications::off(),
        }
    }

    /// The same manager, which tells `notifications` what it does. Without, nobody is told.
    #[must_use]
    pub fn with_notifications(self, notifications: Notifications) -> Self {
        Self { notifications, ..self }
    }

    /// The name of this host.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    pub(crate) fn config(&self) -> &ComputeConfig {
        &self.config
    }

    pub(crate) fn conductor(&self) -> &ConductorApi {
        &self.conductor
    }

    pub(crate) fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    pub(crate) fn tracker(&self) -> &ResourceTracker {
        &self.tracker
    }

    /// Whether the instance is this host's.
    fn is_mine(&self, instance: &Instance) -> bool {
        instance.host.as_deref() == Some(self.config.host.as_str())
    }

    /// Keeps why an operation failed, for the user (`message`) and the operator (`details`).
    async fn record_fault(&self, context: &RequestContext, instance: &Instance, error: &ManagerError) {
        let fault = InstanceFault {
            instance_uuid: instance.uuid,
            code: fault_code(error),
            message: Some(error.to_string()),
            details: Some(details(error)),
            host: Some(self.config.host.clone()),
            ..InstanceFault::default()
        };
        if let Err(error) = self.conductor.fault_create(context, &fault).await {
            tracing::error!(instance = %instance.uuid, %error, "a fault could not be recorded");
        }
    }

    /// What the hypervisor says now; no state where there is no guest.
    async fn guest_power_state(&self, instance_uuid: Uuid) -> Result<PowerState, DriverError> {
        match self.driver.guest_info(instance_uuid).await {
            Ok(info) => Ok(info.power_state),
            Err(DriverError::InstanceNotFound(_)) => Ok(PowerState::NoState),
            Err(error) => Err(error),
        }
    }

    /// The same for the end of an operation, which does not fail because of it: what is not known now, the next
    /// comparison with the hypervisor corrects.
    async fn power_state(&self, instance_uuid: Uuid) -> PowerState {
        self.guest_power_state(instance_uuid).await.unwrap_or_else(|error| {
            tracing::warn!(instance = %instance_uuid, %error, "the power state is not known");
            PowerState::NoState
        })
    }
}

/// Any number where `limit` is zero.
fn at_most(limit: usize) -> Semaphore {
    Semaphore::new(match limit {
        0 => Semaphore::MAX_PERMITS,
        limit => limit.min(Semaphore::MAX_PERMITS),
    })
}

fn fault_code(error: &ManagerError) -> i64 {
    match error {
        ManagerError::Driver(
            DriverError::ImageUnacceptable { .. } | DriverError::FlavorDiskSmallerThanImage { .. },
        ) => 400,
        ManagerError::Driver(DriverError::InstanceNotRunning(_)) | ManagerError::NotRescuable { .. } => 400,
        ManagerError::Driver(DriverError::InstanceNotFound(_)) => 404,
        ManagerError::Raised(exception) => exception.kwargs.get("code").and_then(|code| code.as_i64()).unwrap_or(500),
        _ => 500,
    }
}

/// An error with everything below it, for the log and for an operator's eyes.
fn details(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
