//! The objects that a compute agent reads and saves through the conductor, as typed methods: Nova's indirection API.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use kilonova_core::time::strtime;
use kilonova_objects::wire::{VersionedObject, changes, envelope};
use kilonova_objects::{
    Aggregate, AggregateList, BlockDeviceMapping, BlockDeviceMappingList, ComputeNode, ComputeNodeList,
    ConsoleAuthToken, Instance, InstanceFault, InstanceList, Migration, MigrationList, Service, ServiceList, TaskLog,
    TaskState, Tracked, VmState, Wire,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::RpcError;
use crate::conductor::{ConductorApi, ObjectAction, ObjectClassActionVersions};

/// How a step of an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It did what it should.
    Success,
    /// It did not.
    Failure {
        /// What a user may see.
        message: String,
        /// What an operator sees.
        traceback: String,
    },
}

/// The states of which one must hold for a save to happen; `None`: any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// What may be going on.
    pub task_states: Option<&'a [Option<TaskState>]>,
    /// What the instance may be.
    pub vm_states: Option<&'a [VmState]>,
}

impl<'a> Expected<'a> {
    /// Whatever the state is.
    pub const ANY: Self = Self { task_states: None, vm_states: None };

    /// One of these tasks.
    pub const fn tasks(task_states: &'a [Option<TaskState>]) -> Self {
        Self { task_states: Some(task_states), vm_states: None }
    }
}

impl ConductorApi {
    /// `Instance.get_by_uuid`
    pub async fn instance_get(&self, context: &RequestContext, uuid: Uuid) -> Result<Instance, RpcError> {
        self.class_action(context, "Instance", "get_by_uuid", vec![], [("uuid", json!(uuid))]).await
    }

    /// `InstanceList.get_by_filters` for the instances of `host`, oldest first: the `limit` ones after `marker`.
    pub async fn instances_by_host(
        &self,
        context: &RequestContext,
        host: &str,
        marker: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Instance>, RpcError> {
        let kwargs = [
            ("filters", json!({"host": host, "deleted": false})),
            ("sort_key", json!("created_at")),
            ("sort_dir", json!("asc")),
            ("limit", json!(limit)),
            ("marker", json!(marker)),
        ];
        let list: InstanceList = self.class_action(context, "InstanceList", "get_by_filters", vec![], kwargs).await?;
        Ok(list.objects)
    }

    /// `InstanceList.get_by_filters` for all instances, oldest first: the `limit` ones after `marker`.
    pub async fn instances(
        &self,
        context: &RequestContext,
        marker: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Instance>, RpcError> {
        let kwargs = [
            ("filters", json!({"deleted": false})),
            ("sort_key", json!("created_at")),
            ("sort_dir", json!("asc")),
            ("limit", json!(limit)),
            ("marker", json!(marker)),
        ];
        let list: InstanceList = self.class_action(context, "InstanceList", "get_by_filters", vec![], kwargs).await?;
        Ok(list.objects)
    }

    /// `Instance.save`: writes what changed, if the instance is still in an expected state.
    pub async fn instance_save(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        expected: Expected<'_>,
    ) -> Result<(), RpcError> {
        let mut kwargs = BTreeMap::new();
        if let Some(states) = expected.task_states {
            let states: Vec<_> = states.iter().map(|state| state.map(TaskState::as_str)).collect();
            kwargs.insert("expected_task_state".to_owned(), json!(states));
        }
        if let Some(states) = expected.vm_states {
            let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
            kwargs.insert("expected_vm_state".to_owned(), json!(states));
        }
        self.save(context, instance, kwargs).await
    }

    /// `Instance.destroy`: marks the instance deleted; returns it as it is then.
    pub async fn instance_destroy(&self, context: &RequestContext, instance: &Instance) -> Result<Instance, RpcError> {
        let updates = self.object_action(context, instance.to_wire(), "destroy", BTreeMap::new()).await?;
        updated(instance, updates, "destroy")
    }

    /// `Migration.get_by_id`
    pub async fn migration_get(&self, context: &RequestContext, id: i64) -> Result<Migration, RpcError> {
        self.class_action(context, "Migration", "get_by_id", vec![json!(id)], []).await
    }

    /// `Migration.save`: writes what changed.
    pub async fn migration_save(
        &self,
        context: &RequestContext,
        migration: &mut Tracked<Migration>,
    ) -> Result<(), RpcError> {
        self.save(context, migration, BTreeMap::new()).await
    }

    /// `MigrationList.get_by_filters`: names and values of Nova's filters, such as `host` and `status`.
    pub async fn migrations(&self, context: &RequestContext, filters: Value) -> Result<Vec<Migration>, RpcError> {
        let list: MigrationList =
            self.class_action(context, "MigrationList", "get_by_filters", vec![filters], []).await?;
        Ok(list.objects)
    }

    /// `BlockDeviceMappingList.get_by_instance_uuid`
    pub async fn block_devices(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
    ) -> Result<Vec<BlockDeviceMapping>, RpcError> {
        let (class, args) = ("BlockDeviceMappingList", vec![json!(instance_uuid)]);
        let list: BlockDeviceMappingList = self.class_action(context, class, "get_by_instance_uuid", args, []).await?;
        Ok(list.objects)
    }

    /// `BlockDeviceMapping.get_by_volume_and_instance`
    pub async fn block_device_by_volume(
        &self,
        context: &RequestContext,
        volume_id: &str,
        instance_uuid: Uuid,
    ) -> Result<BlockDeviceMapping, RpcError> {
        let args = vec![json!(volume_id), json!(instance_uuid)];
        self.class_action(context, "BlockDeviceMapping", "get_by_volume_and_instance", args, []).await
    }

    /// `BlockDeviceMapping.create`; returns the row.
    pub async fn block_device_create(
        &self,
        context: &RequestContext,
        bdm: &BlockDeviceMapping,
    ) -> Result<BlockDeviceMapping, RpcError> {
        self.create(context, bdm).await
    }

    /// `BlockDeviceMapping.save`
    pub async fn block_device_save(
        &self,
        context: &RequestContext,
        bdm: &mut Tracked<BlockDeviceMapping>,
    ) -> Result<(), RpcError> {
        self.save(context, bdm, BTreeMap::new()).await
    }

    /// `BlockDeviceMapping.destroy`; one that is gone already is success.
    pub async fn block_device_destroy(
        &self,
        context: &RequestContext,
        bdm: &BlockDeviceMapping,
    ) -> Result<(), RpcError> {
        self.object_action(context, bdm.to_wire(), "destroy", BTreeMap::new()).await.map(drop)
    }

    /// `InstanceFault.create`
    pub async fn fault_create(&self, context: &RequestContext, fault: &InstanceFault) -> Result<(), RpcError> {
        self.object_action(context, created(fault), "create", BTreeMap::new()).await.map(drop)
    }

    /// `ConsoleAuthToken.authorize`: makes the token, which is valid for `ttl_s` seconds.
    pub async fn console_authorize(
        &self,
        context: &RequestContext,
        console: &ConsoleAuthToken,
        ttl_s: i64,
    ) -> Result<ConsoleAuthToken, RpcError> {
        let kwargs = BTreeMap::from([("ttl".to_owned(), json!(ttl_s))]);
        let updates = self.object_action(context, created(console), "authorize", kwargs).await?;
        updated(console, updates, "authorize")
    }

    /// `InstanceActionEvent.event_start`
    pub async fn event_start(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        event: &str,
        host: &str,
    ) -> Result<(), RpcError> {
        let kwargs = [("want_result", json!(false)), ("host", json!(host))];
        let args = vec![json!(instance_uuid), json!(event)];
        self.class_action::<Value>(context, "InstanceActionEvent", "event_start", args, kwargs).await.map(drop)
    }

    /// `InstanceActionEvent.event_finish_with_failure`, as a cast: what it returns is of no use to anybody.
    pub async fn event_finish(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        event: &str,
        outcome: &EventOutcome,
    ) -> Result<(), RpcError> {
        let (message, traceback) = match outcome {
            EventOutcome::Success => (None, None),
            EventOutcome::Failure { message, traceback } => (Some(message), Some(traceback)),
        };
        let kwargs = [("exc_val", json!(message)), ("exc_tb", json!(traceback)), ("want_result", json!(false))];
        let args = vec![json!(instance_uuid), json!(event)];
        self.cast(context, class_action("InstanceActionEvent", "event_finish_with_failure", args, kwargs)).await
    }

    /// `Service.get_by_host_and_binary`
    pub async fn service_get(
        &self,
        context: &RequestContext,
        host: &str,
        binary: &str,
    ) -> Result<Option<Service>, RpcError> {
        let args = vec![json!(host), json!(binary)];
        self.class_action(context, "Service", "get_by_host_and_binary", args, []).await
    }

    /// `ServiceList.get_by_binary`, disabled ones too.
    pub async fn services_by_binary(&self, context: &RequestContext, binary: &str) -> Result<Vec<Service>, RpcError> {
        let kwargs = [("include_disabled", json!(true))];
        let list: ServiceList =
            self.class_action(context, "ServiceList", "get_by_binary", vec![json!(binary)], kwargs).await?;
        Ok(list.objects)
    }

    /// `AggregateList.get_all`
    pub async fn aggregates(&self, context: &RequestContext) -> Result<Vec<Aggregate>, RpcError> {
        let list: AggregateList = self.class_action(context, "AggregateList", "get_all", vec![], []).await?;
        Ok(list.objects)
    }

    /// `Service.create`; returns the row.
    pub async fn service_create(&self, context: &RequestContext, service: &Service) -> Result<Service, RpcError> {
        self.create(context, service).await
    }

    /// `Service.save`: what changed, such as a heartbeat's `report_count`.
    pub async fn service_save(&self, context: &RequestContext, service: &mut Tracked<Service>) -> Result<(), RpcError> {
        self.save(context, service, BTreeMap::new()).await
    }

    /// `ComputeNodeList.get_all_by_host`; empty where Nova raises `ComputeHostNotFound`.
    pub async fn compute_nodes_by_host(
        &self,
        context: &RequestContext,
        host: &str,
    ) -> Result<Vec<ComputeNode>, RpcError> {
        let args = vec![json!(host)];
        let found = self.class_action(context, "ComputeNodeList", "get_all_by_host", args, []).await;
        match found {
            Ok(ComputeNodeList { objects, .. }) => Ok(objects),
            Err(error) if error.is("ComputeHostNotFound") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// `ComputeNodeList.get_all`
    pub async fn compute_nodes(&self, context: &RequestContext) -> Result<Vec<ComputeNode>, RpcError> {
        let list: ComputeNodeList = self.class_action(context, "ComputeNodeList", "get_all", vec![], []).await?;
        Ok(list.objects)
    }

    /// `ComputeNode.create`; returns the row.
    pub async fn compute_node_create(
        &self,
        context: &RequestContext,
        node: &ComputeNode,
    ) -> Result<ComputeNode, RpcError> {
        self.create(context, node).await
    }

    /// `ComputeNode.save`
    pub async fn compute_node_save(
        &self,
        context: &RequestContext,
        node: &mut Tracked<ComputeNode>,
    ) -> Result<(), RpcError> {
        self.save(context, node, BTreeMap::new()).await
    }

    /// `InstanceList.get_active_by_window_joined`: the instances of a host that ran between two instants, deleted ones
    /// too.
    pub async fn instances_active_by_window(
        &self,
        context: &RequestContext,
        host: &str,
        (begin, end): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Vec<Instance>, RpcError> {
        let args = vec![begin.to_wire(), end.to_wire()];
        let kwargs = [("host", json!(host)), ("project_id", Value::Null)];
        let method = "_get_active_by_window_joined";
        let list: InstanceList = self.class_action(context, "InstanceList", method, args, kwargs).await?;
        Ok(list.objects)
    }

    /// `TaskLog.get`: the run of a task on a host for a period.
    pub async fn task_log_get(
        &self,
        context: &RequestContext,
        task_name: &str,
        host: &str,
        (begin, end): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Option<TaskLog>, RpcError> {
        let args = vec![json!(task_name), json!(strtime(begin)), json!(strtime(end)), json!(host)];
        self.class_action(context, "TaskLog", "get", args, []).await
    }

    /// `TaskLog.begin_task`; `TaskAlreadyRunning` where it was begun before.
    pub async fn task_log_begin(&self, context: &RequestContext, run: &TaskLog) -> Result<(), RpcError> {
        self.object_action(context, created(run), "begin_task", BTreeMap::new()).await.map(drop)
    }

    /// `TaskLog.end_task`
    pub async fn task_log_end(&self, context: &RequestContext, run: &TaskLog) -> Result<(), RpcError> {
        self.object_action(context, created(run), "end_task", BTreeMap::new()).await.map(drop)
    }

    async fn class_action<R: Wire>(
        &self,
        context: &RequestContext,
        objname: &'static str,
        objmethod: &'static str,
        args: Vec<Value>,
        kwargs: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<R, RpcError> {
        let reply = self.call(context, class_action(objname, objmethod, args, kwargs)).await?;
        R::from_wire(&reply).map_err(|source| RpcError::Reply { method: objmethod, source })
    }

    /// `[updates, result]` of an object's method: the updates.
    async fn object_action(
        &self,
        context: &RequestContext,
        objinst: Value,
        objmethod: &'static str,
        kwargs: BTreeMap<String, Value>,
    ) -> Result<serde_json::Map<String, Value>, RpcError> {
        let method = ObjectAction { objinst, objmethod: objmethod.to_owned(), args: vec![], kwargs };
        match self.call(context, method).await?.get_mut(0).map(Value::take) {
            Some(Value::Object(updates)) => Ok(updates),
            other => Err(RpcError::Reply {
                method: objmethod,
                source: kilonova_objects::WireError::type_of("[updates, result]", &json!(other)),
            }),
        }
    }

    async fn create<T: VersionedObject>(&self, context: &RequestContext, object: &T) -> Result<T, RpcError> {
        let updates = self.object_action(context, created(object), "create", BTreeMap::new()).await?;
        updated(object, updates, "create")
    }

    async fn save<T: VersionedObject>(
        &self,
        context: &RequestContext,
        object: &mut Tracked<T>,
        kwargs: BTreeMap<String, Value>,
    ) -> Result<(), RpcError> {
        let wire = object.to_wire_with_changes();
        if changes(&wire).is_empty() && kwargs.is_empty() {
            return Ok(());
        }
        let updates = self.object_action(context, wire, "save", kwargs).await?;
        **object = updated(&**object, updates, "save")?;
        object.reset_changes();
        Ok(())
    }
}

fn class_action(
    objname: &'static str,
    objmethod: &'static str,
    args: Vec<Value>,
    kwargs: impl IntoIterator<Item = (&'static str, Value)>,
) -> ObjectClassActionVersions {
    ObjectClassActionVersions {
        objname: objname.to_owned(),
        objmethod: objmethod.to_owned(),
        object_versions: manifest(objname),
        args,
        kwargs: kwargs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

/// A new object on the wire: all that is set is a change.
fn created<T: VersionedObject>(object: &T) -> Value {
    let data = object.data();
    let names: Vec<String> = data.keys().cloned().collect();
    envelope::<T>(data, &names)
}

/// The object with what its method changed.
fn updated<T: VersionedObject>(
    object: &T,
    updates: serde_json::Map<String, Value>,
    method: &'static str,
) -> Result<T, RpcError> {
    let mut data = object.data();
    data.extend(updates.into_iter().filter(|(name, _)| name != "obj_what_changed"));
    T::from_data(&data).map_err(|source| RpcError::Reply { method, source })
}

/// The object versions that we read, for a peer that may know newer ones.
fn manifest(objname: &str) -> BTreeMap<String, String> {
    const VERSIONS: [(&str, &str); 14] = [
        ("BlockDeviceMapping", BlockDeviceMapping::VERSION),
        ("BlockDeviceMappingList", BlockDeviceMappingList::VERSION),
        ("ComputeNode", ComputeNode::VERSION),
        ("ComputeNodeList", ComputeNodeList::VERSION),
        ("Instance", Instance::VERSION),
        ("InstanceActionEvent", kilonova_objects::InstanceActionEvent::VERSION),
        ("InstanceFault", InstanceFault::VERSION),
        ("InstanceList", InstanceList::VERSION),
        ("Migration", Migration::VERSION),
        ("MigrationList", MigrationList::VERSION),
        ("Service", Service::VERSION),
        ("ServiceList", ServiceList::VERSION),
        ("TaskLog", TaskLog::VERSION),
        ("InstanceInfoCache", kilonova_objects::InstanceInfoCache::VERSION),
    ];
    let wanted = |name: &str| name == objname || objname.strip_suffix("List") == Some(name);
    let versions = VERSIONS.iter().filter(|(name, _)| wanted(name));
    versions.map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}
