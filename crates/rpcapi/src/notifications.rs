//! Nova's notifications: what happened to an instance, for whoever listens on the bus.
//!
//! ```text
//!   Notifications::instance ──> unversioned payload ──> Notifier compute.<host>        ──┐
//!            │                                                                          ├──> Outbox ──> transport
//!            └────────────────> versioned payload   ──> Notifier nova-compute:<host>   ──┘   (beside the work)
//! ```
//!
//! `[notifications] notification_format` says which of the two forms there are, `[oslo_messaging_notifications] driver`
//! whether there is any: without a driver, which is the default, no payload is made. A notification never fails what it
//! tells of, and nobody waits for one. The payloads are pure functions of the objects.
//!
//! Who calls: the compute manager, and the conductor for what it does itself.

mod audit_period;
mod config;
mod event;
mod unversioned;
mod versioned;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use kilonova_core::{Config, RequestContext};
use kilonova_messaging::{NotificationOptions, Notifier, Outbox, Priority, Transport};
use kilonova_objects::{Instance, RequestSpec, VmState};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use audit_period::AuditPeriod;
pub use config::NotificationsError;
use config::{Follow, Options};
use event::StateUpdate;
pub use event::{Fault, InstanceAction, InstanceEvent, Phase};

/// The publisher of what is told of an instance without a version, whoever tells it: `compute.<host>`.
const COMPUTE: &str = "compute";
/// Who, with a version, writes the rows of instances: a conductor does it in the name of the agents.
const NOVA_COMPUTE: &str = "nova-compute";
/// Who gives new instances to hosts, without a version and with one.
const CONDUCTOR: &str = "conductor";
const NOVA_CONDUCTOR: &str = "nova-conductor";
/// The publisher, without a version, of what the conductor's tasks come to, and the prefix of their events.
const COMPUTE_TASK: &str = "compute_task";
/// Tasks of the conductor that can fail; a build that finds no host is the first of them.
const BUILD_INSTANCES: &str = "build_instances";

/// Tells of what one process does. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifications(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// `nova-compute`: what versioned notifications say for who did it.
    binary: String,
    host: String,
    unversioned: Option<Notifier>,
    versioned: Option<Notifier>,
    outbox: Outbox,
    options: Options,
}

impl Notifications {
    /// Nobody is told anything.
    pub fn off() -> Self {
        Self(None)
    }

    /// As `[notifications]` and `[oslo_messaging_notifications]` say, for `binary` (`nova-compute`) on `host`, sent over
    /// `transport`, which is that of the `transport_url` there, if there is one: the caller sees to that.
    ///
    /// Must be called inside a tokio runtime. Errors: an option has a value that it cannot have.
    pub fn from_config(
        config: &Config,
        transport: Arc<dyn Transport>,
        binary: &str,
        host: &str,
    ) -> Result<Self, NotificationsError> {
        let options = Options::from_config(config)?;
        let notifier = |options: Option<&NotificationOptions>| {
            let notifier = Notifier::new(transport.clone(), binary, options?.clone());
            notifier.is_enabled().then_some(notifier)
        };
        let (unversioned, versioned) = (notifier(options.unversioned.as_ref()), notifier(options.versioned.as_ref()));
        if unversioned.is_none() && versioned.is_none() {
            return Ok(Self::off());
        }
        let outbox = Outbox::start(transport, options.retry);
        let (binary, host) = (binary.to_owned(), host.to_owned());
        Ok(Self(Some(Arc::new(Inner { binary, host, unversioned, versioned, outbox, options }))))
    }

    /// Whether anybody is told, so that nothing need be prepared for nobody.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the notifications of `action` show the disks of an instance even where they are not at hand and must be
    /// asked for. Nova always has them for some actions, and else if `bdms_in_notifications` says so.
    pub fn shows_disks(&self, action: InstanceAction) -> bool {
        let shows = |inner: &Arc<Inner>| {
            inner.versioned.is_some() && (inner.options.bdms_in_notifications || action.has_disks())
        };
        self.0.as_ref().is_some_and(shows)
    }

    /// An action on an instance begins, ends or fails.
    pub fn instance(&self, context: &RequestContext, instance: &Instance, event: &InstanceEvent<'_>) {
        let Some(inner) = &self.0 else { return };
        let (action, phase) = (event.action.as_str(), event.phase.as_str());
        let priority = if event.fault.is_some() { Priority::Error } else { Priority::Info };
        if !event.action.is_versioned_only() {
            let older = event.action.unversioned_str();
            inner.unversioned(COMPUTE, context, priority, &format!("compute.instance.{older}.{phase}"), || {
                let image_endpoint = inner.options.image_endpoint.as_deref();
                let image_ref_url = unversioned::image_ref_url(context, instance, image_endpoint);
                unversioned::instance_event(instance, image_ref_url, event)
            });
        }
        inner.versioned(&inner.binary, context, priority, &format!("instance.{action}.{phase}"), || {
            versioned::instance_event(&inner.options.shows(), context, instance, event)
        });
    }

    /// A host was found, or is given, for a rebuild: `rebuild.scheduled`, which in its versioned form has no phase.
    pub fn rebuild_scheduled(&self, context: &RequestContext, instance: &Instance) {
        let Some(inner) = &self.0 else { return };
        let event = InstanceEvent::start(InstanceAction::Rebuild);
        inner.unversioned(COMPUTE, context, Priority::Info, "compute.instance.rebuild.scheduled", || {
            let image_ref_url = unversioned::image_ref_url(context, instance, inner.options.image_endpoint.as_deref());
            unversioned::instance_event(instance, image_ref_url, &event)
        });
        inner.versioned(NOVA_CONDUCTOR, context, Priority::Info, "instance.rebuild_scheduled", || {
            versioned::instance_event(&inner.options.shows(), context, instance, &event)
        });
    }

    /// An evacuation was asked for: one notification, without a phase.
    pub fn evacuate(&self, context: &RequestContext, instance: &Instance) {
        let Some(inner) = &self.0 else { return };
        let event = InstanceEvent::start(InstanceAction::Evacuate);
        inner.unversioned(COMPUTE, context, Priority::Info, "compute.instance.evacuate", || {
            let image_ref_url = unversioned::image_ref_url(context, instance, inner.options.image_endpoint.as_deref());
            unversioned::instance_event(instance, image_ref_url, &event)
        });
        inner.versioned(&inner.binary, context, Priority::Info, "instance.evacuate", || {
            versioned::instance_event(&inner.options.shows(), context, instance, &event)
        });
    }

    /// Whether changes of an instance's row are told: `notify_on_state_change`.
    pub fn follows_changes(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.options.follow.is_some())
    }

    /// The row of an instance was written: `instance.update`. By Nova's rule the states before it are told only if what
    /// `notify_on_state_change` names has changed.
    pub fn instance_saved(&self, context: &RequestContext, before: &Instance, after: &Instance) {
        let Some((inner, follow)) = self.following() else { return };
        let has_changed = before.vm_state != after.vm_state
            || (follow == Follow::VmAndTaskState && before.task_state != after.task_state);
        let update = if has_changed {
            StateUpdate::between(before, after)
        } else {
            let was_renamed = before.display_name != after.display_name;
            let old_display_name = before.display_name.clone().filter(|name| was_renamed && !name.is_empty());
            StateUpdate { old_display_name, ..StateUpdate::between(after, after) }
        };
        inner.update(COMPUTE, NOVA_COMPUTE, context, after, &update);
    }

    /// A new instance is given to a host: the `instance.update` that says that it is being built.
    pub fn instance_created(&self, context: &RequestContext, instance: &Instance) {
        let Some((inner, _)) = self.following() else { return };
        inner.update(CONDUCTOR, NOVA_CONDUCTOR, context, instance, &StateUpdate::between(instance, instance));
    }

    fn following(&self) -> Option<(&Inner, Follow)> {
        let inner = self.0.as_deref()?;
        Some((inner, inner.options.follow?))
    }

    /// No host builds an instance: `compute_task.build_instances.error`, where `state` is what the instance is now.
    pub fn build_instances_error(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        spec: Option<&RequestSpec>,
        state: VmState,
        reason: &Fault,
    ) {
        self.compute_task_error(context, BUILD_INSTANCES, instance_uuid, spec, state, reason);
    }

    /// The same for another of the conductor's tasks: `migrate_server`, `rebuild_server`.
    pub fn compute_task_error(
        &self,
        context: &RequestContext,
        method: &str,
        instance_uuid: Uuid,
        spec: Option<&RequestSpec>,
        state: VmState,
        reason: &Fault,
    ) {
        let Some(inner) = &self.0 else { return };
        let event_type = format!("{COMPUTE_TASK}.{method}");
        inner.unversioned(COMPUTE_TASK, context, Priority::Error, &event_type, || {
            unversioned::compute_task(method, instance_uuid, spec, state, reason)
        });
        inner.versioned(&inner.binary, context, Priority::Error, &format!("{event_type}.error"), || {
            versioned::compute_task(instance_uuid, spec, state, reason)
        });
    }

    /// An instance was there in a period that is over: `compute.instance.exists`.
    pub fn instance_exists(
        &self,
        context: &RequestContext,
        instance: &Instance,
        period: (DateTime<Utc>, DateTime<Utc>),
    ) {
        let Some(inner) = &self.0 else { return };
        inner.unversioned(COMPUTE, context, Priority::Info, "compute.instance.exists", || {
            let image_ref_url = unversioned::image_ref_url(context, instance, inner.options.image_endpoint.as_deref());
            unversioned::instance_exists(instance, image_ref_url, period)
        });
        inner.versioned(NOVA_COMPUTE, context, Priority::Info, "instance.exists", || {
            versioned::instance_exists(&inner.options.shows(), context, instance, period)
        });
    }

    /// Waits until all that was told is sent; false if it was not at the bound. For the end of a process.
    pub async fn flush(&self, bound: Duration) -> bool {
        match &self.0 {
            Some(inner) => inner.outbox.flush(bound).await,
            None => true,
        }
    }
}

/// The fields of what was just written as an object.
fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        // It is not one: nothing is written so.
        _ => Map::new(),
    }
}

impl Inner {
    fn update(&self, service: &str, source: &str, context: &RequestContext, instance: &Instance, update: &StateUpdate) {
        let period = self.options.audit_period.current(utcnow());
        self.unversioned(service, context, Priority::Info, "compute.instance.update", || {
            let image_ref_url = unversioned::image_ref_url(context, instance, self.options.image_endpoint.as_deref());
            unversioned::instance_update(instance, image_ref_url, update, period)
        });
        self.versioned(source, context, Priority::Info, "instance.update", || {
            versioned::instance_update(&self.options.shows(), context, instance, update, period)
        });
    }

    fn unversioned(
        &self,
        service: &str,
        context: &RequestContext,
        priority: Priority,
        event_type: &str,
        payload: impl FnOnce() -> Value,
    ) {
        let Some(notifier) = &self.unversioned else { return };
        let notifier = notifier.prepare(format!("{service}.{}", self.host));
        self.outbox.push(notifier.messages(&context.to_map(), priority, event_type, &payload()));
    }

    fn versioned(
        &self,
        source: &str,
        context: &RequestContext,
        priority: Priority,
        event_type: &str,
        payload: impl FnOnce() -> Value,
    ) {
        let Some(notifier) = &self.versioned else { return };
        let notifier = notifier.prepare(format!("{source}:{}", self.host));
        self.outbox.push(notifier.messages(&context.to_map(), priority, event_type, &payload()));
    }
}
