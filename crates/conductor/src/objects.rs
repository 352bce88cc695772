//! Methods of objects, run here because the database is here: `object_action` and `object_class_action_versions`.
//!
//! The methods are Nova's remotables by name; only those that a caller of ours uses are served, and an unknown one is
//! refused with the class that a Python peer expects.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted, InstanceQuery, Save, SaveError};
use kilonova_db::server_migrations::{self, MigrationQuery};
use kilonova_db::{
    DbError, actions, aggregates, block_devices, compute_nodes, console_auth_tokens, faults, services, task_log,
};
use kilonova_messaging::RemoteException;
use kilonova_objects::migration::status;
use kilonova_objects::wire::{VersionedObject, changes};
use kilonova_objects::{
    AggregateList, BlockDeviceMapping, BlockDeviceMappingList, ComputeNode, ComputeNodeList, ConsoleAuthToken,
    Instance, InstanceFault, InstanceList, Migration, MigrationList, Service, ServiceList, TaskLog, TaskState, VmState,
    Wire,
};
use kilonova_rpcapi::conductor::{ObjectAction, ObjectClassActionVersions};
use kilonova_rpcapi::exception;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Conductor;

impl Conductor {
    /// Runs a class method.
    pub(crate) async fn object_class_action(
        &self,
        context: &RequestContext,
        action: ObjectClassActionVersions,
    ) -> Result<Value, RemoteException> {
        let arguments = Arguments { args: &action.args, kwargs: &action.kwargs };
        let db = &self.db;
        match (action.objname.as_str(), action.objmethod.as_str()) {
            ("Instance", "get_by_uuid") => {
                let uuid = arguments.uuid(0, "uuid")?;
                let deleted = if context.read_deleted == "yes" { Deleted::Yes } else { Deleted::No };
                Ok(instances::get(db, uuid, deleted).await.map_err(raised)?.to_wire())
            }
            ("InstanceList", "get_by_filters") => {
                let found = instances::list(db, &query(&arguments)?).await.map_err(raised)?;
                Ok(InstanceList::from(found).to_wire())
            }
            ("InstanceList", "get_by_host") => {
                let found = instances::by_host(db, &arguments.text(0, "host")?).await.map_err(raised)?;
                Ok(InstanceList::from(found).to_wire())
            }
            ("InstanceList", "_get_active_by_window_joined") => {
                let (begin, end) = (arguments.instant(0, "begin")?, arguments.instant(1, "end")?);
                let found = instances::active_by_window(db, &arguments.text(3, "host")?, begin, end).await;
                Ok(InstanceList::from(found.map_err(raised)?).to_wire())
            }
            ("Migration" | "MigrationList", method) => self.migration_class_action(context, method, &arguments).await,
            ("BlockDeviceMappingList", "get_by_instance_uuid") => {
                let uuid = arguments.uuid(0, "instance_uuid")?;
                let mut found = block_devices::list(db, &[uuid]).await.map_err(raised)?;
                Ok(BlockDeviceMappingList::from(found.remove(&uuid).unwrap_or_default()).to_wire())
            }
            ("BlockDeviceMapping", "get_by_volume_and_instance") => {
                let (volume_id, uuid) = (arguments.text(0, "volume_id")?, arguments.uuid(1, "instance_uuid")?);
                let found = block_devices::by_volume_and_instance(db, &volume_id, uuid).await.map_err(raised)?;
                Ok(found.ok_or_else(|| exception::volume_bdm_not_found(&volume_id))?.to_wire())
            }
            ("BlockDeviceMappingList", "get_by_volume") => {
                let volume_id = arguments.text(0, "volume_id")?;
                let found = block_devices::of_volume(db, &volume_id).await.map_err(raised)?;
                if found.is_empty() {
                    return Err(exception::volume_bdm_not_found(&volume_id));
                }
                Ok(BlockDeviceMappingList::from(found).to_wire())
            }
            ("ConsoleAuthToken", "validate") => {
                let token = arguments.text(0, "token")?;
                let found = console_auth_tokens::validate(db, &token).await.map_err(raised)?;
                Ok(found.ok_or_else(exception::invalid_token)?.to_wire())
            }
            ("ConsoleAuthToken", "clean_console_auths_for_instance") => {
                let uuid = arguments.uuid(0, "instance_uuid")?;
                console_auth_tokens::destroy_all_by_instance(db, uuid).await.map_err(raised)?;
                Ok(Value::Null)
            }
            ("ConsoleAuthToken", "clean_expired_console_auths") => {
                console_auth_tokens::destroy_expired(db).await.map_err(raised)?;
                Ok(Value::Null)
            }
            ("InstanceActionEvent", "event_start") => {
                let uuid = arguments.uuid(0, "instance_uuid")?;
                let event = arguments.text(1, "event_name")?;
                let host = arguments.optional_text(3, "host");
                let request_id = context.request_id();
                actions::event_start(db, uuid, request_id, &event, host.as_deref())
                    .await
                    .map_err(|error| action_raised(error, uuid, request_id))?;
                Ok(Value::Null)
            }
            ("InstanceActionEvent", "event_finish_with_failure" | "event_finish") => {
                let uuid = arguments.uuid(0, "instance_uuid")?;
                let event = arguments.text(1, "event_name")?;
                let failure = arguments
                    .optional_text(2, "exc_val")
                    .map(|message| (message, arguments.optional_text(3, "exc_tb").unwrap_or_default()));
                let request_id = context.request_id();
                actions::event_finish(db, uuid, request_id, &event, failure)
                    .await
                    .map_err(|error| action_raised(error, uuid, request_id))?;
                Ok(Value::Null)
            }
            ("Service", "get_by_host_and_binary" | "get_by_args") => {
                let (host, binary) = (arguments.text(0, "host")?, arguments.text(1, "binary")?);
                let found = services::get_by_host_and_binary(db, &host, &binary).await.map_err(raised)?;
                Ok(found.to_wire())
            }
            ("Service", "get_minimum_version") => {
                let binary = arguments.text(0, "binary")?;
                Ok(json!(services::minimum_version(db, &binary).await.map_err(raised)?))
            }
            ("ServiceList", "get_by_binary") => {
                let binary = arguments.text(0, "binary")?;
                let mut found = services::list(db, Some(&binary), None).await.map_err(raised)?;
                if !arguments.flag(1, "include_disabled") {
                    found.retain(|service| !service.disabled);
                }
                Ok(ServiceList::from(found).to_wire())
            }
            ("TaskLog", "get") => {
                let (task, host) = (arguments.text(0, "task_name")?, arguments.text(3, "host")?);
                let period = (arguments.instant(1, "period_beginning")?, arguments.instant(2, "period_ending")?);
                let runs = task_log::list(db, &task, period.0, period.1).await.map_err(raised)?;
                Ok(runs.into_iter().find(|run| run.host == host).to_wire())
            }
            ("AggregateList", "get_all") => {
                Ok(AggregateList::from(aggregates::list(db).await.map_err(raised)?).to_wire())
            }
            ("ComputeNodeList", "get_all") => {
                Ok(ComputeNodeList::from(compute_nodes::list(db).await.map_err(raised)?).to_wire())
            }
            ("ComputeNodeList", "get_all_by_host") => {
                let host = arguments.text(0, "host")?;
                let found = compute_nodes::list_by_host(db, &host).await.map_err(raised)?;
                if found.is_empty() {
                    return Err(exception::compute_host_not_found(&host));
                }
                Ok(ComputeNodeList::from(found).to_wire())
            }
            ("ComputeNode", "get_by_uuid") => {
                let uuid = arguments.uuid(0, "compute_uuid")?;
                match compute_nodes::get(db, uuid).await {
                    Err(DbError::NotFound { .. }) => Err(exception::compute_host_not_found(&uuid.to_string())),
                    found => Ok(found.map_err(raised)?.to_wire()),
                }
            }
            (name, method) => Err(unsupported(name, method)),
        }
    }

    /// Runs a method of an object: `[updates, result]`.
    pub(crate) async fn object_action(
        &self,
        context: &RequestContext,
        action: ObjectAction,
    ) -> Result<Value, RemoteException> {
        let name = action.objinst.get("nova_object.name").and_then(Value::as_str).unwrap_or_default();
        match (name, action.objmethod.as_str()) {
            ("Instance", "save") => self.instance_save(context, &action).await,
            ("Instance", "destroy") => {
                let instance: Instance = object(&action.objinst)?;
                let destroyed = instances::destroy(&self.db, instance.uuid).await;
                let destroyed = destroyed.map_err(|error| instance_raised(error, instance.uuid))?;
                Ok(updates(&action.objinst, &destroyed))
            }
            ("Instance", "refresh") => {
                let instance: Instance = object(&action.objinst)?;
                let found = instances::get(&self.db, instance.uuid, Deleted::No).await;
                Ok(updates(&action.objinst, &found.map_err(|error| instance_raised(error, instance.uuid))?))
            }
            ("ConsoleAuthToken", "authorize") => {
                let console: ConsoleAuthToken = object(&action.objinst)?;
                let arguments = Arguments { args: &action.args, kwargs: &action.kwargs };
                let ttl_s = arguments.get(0, "ttl").and_then(Value::as_i64);
                let ttl_s = ttl_s.ok_or_else(|| type_error("the argument ttl is missing".to_owned()))?;
                let authorized = console_auth_tokens::authorize(&self.db, &console, ttl_s).await.map_err(raised)?;
                let mut reply = updates(&action.objinst, &authorized);
                reply[1] = json!(authorized.token);
                Ok(reply)
            }
            ("BlockDeviceMapping", "create") => {
                let bdm = BlockDeviceMapping { id: 0, ..object(&action.objinst)? };
                Ok(updates(&action.objinst, &block_devices::save(&self.db, &bdm).await.map_err(raised)?))
            }
            ("BlockDeviceMapping", "save") => {
                let bdm: BlockDeviceMapping = object(&action.objinst)?;
                let saved = block_devices::update(&self.db, bdm.id, &changed(&action.objinst)).await;
                Ok(updates(&action.objinst, &saved.map_err(|error| bdm_raised(error, bdm.id))?))
            }
            ("BlockDeviceMapping", "destroy") => {
                let bdm: BlockDeviceMapping = object(&action.objinst)?;
                block_devices::destroy(&self.db, bdm.id).await.map_err(raised)?;
                Ok(updates(&action.objinst, &bdm))
            }
            ("Migration", "create") => {
                let migration = owned(context, object(&action.objinst)?);
                let created = server_migrations::create(&self.db, &migration).await.map_err(raised)?;
                Ok(updates(&action.objinst, &created))
            }
            ("Migration", "save") => {
                let migration: Migration = object(&action.objinst)?;
                let saved = server_migrations::save(&self.db, migration.id, &changed(&action.objinst)).await;
                Ok(updates(
                    &action.objinst,
                    &saved.map_err(|error| migration_raised(error, &migration.id.to_string()))?,
                ))
            }
            ("InstanceFault", "create") => {
                let fault: InstanceFault = object(&action.objinst)?;
                Ok(updates(&action.objinst, &faults::create(&self.db, &fault).await.map_err(raised)?))
            }
            ("Service", "create") => {
                let service: Service = object(&action.objinst)?;
                Ok(updates(&action.objinst, &services::create(&self.db, &service).await.map_err(raised)?))
            }
            ("Service", "save") => {
                let service: Service = object(&action.objinst)?;
                let saved = services::save(&self.db, service.id, &changed(&action.objinst)).await;
                Ok(updates(&action.objinst, &saved.map_err(|error| service_raised(error, service.id))?))
            }
            ("TaskLog", "begin_task") => {
                let run: TaskLog = object(&action.objinst)?;
                match task_log::begin(&self.db, &run).await {
                    Err(DbError::Exists { .. }) => Err(exception::task_already_running(&run.task_name, &run.host)),
                    begun => Ok(updates(&action.objinst, &begun.map_err(raised)?)),
                }
            }
            ("TaskLog", "end_task") => {
                let run: TaskLog = object(&action.objinst)?;
                match task_log::end(&self.db, &run).await {
                    Err(DbError::NotFound { .. }) => Err(exception::task_not_running(&run.task_name, &run.host)),
                    ended => {
                        ended.map_err(raised)?;
                        Ok(updates(&action.objinst, &run))
                    }
                }
            }
            ("ComputeNode", "create") => {
                let node: ComputeNode = object(&action.objinst)?;
                Ok(updates(&action.objinst, &compute_nodes::create(&self.db, &node).await.map_err(raised)?))
            }
            ("ComputeNode", "save") => {
                let node: ComputeNode = object(&action.objinst)?;
                let saved = compute_nodes::save(&self.db, node.uuid, &changed(&action.objinst)).await;
                Ok(updates(&action.objinst, &saved.map_err(raised)?))
            }
            (name, method) => Err(unsupported(name, method)),
        }
    }

    /// A class method of `Migration` or `MigrationList`.
    async fn migration_class_action(
        &self,
        context: &RequestContext,
        method: &str,
        arguments: &Arguments<'_>,
    ) -> Result<Value, RemoteException> {
        let db = &self.db;
        let query = match method {
            "get_by_id" => {
                let id = arguments.text(0, "migration_id")?;
                let number = id.parse().map_err(|_| type_error(format!("migration_id {id:?} is no number")))?;
                let found = server_migrations::get(db, number).await;
                return Ok(found.map_err(|error| migration_raised(error, &id))?.to_wire());
            }
            "get_by_instance_and_status" => {
                let (uuid, status) = (arguments.uuid(0, "instance_uuid")?, arguments.text(1, "status")?);
                let found = server_migrations::get_by_instance_and_status(db, uuid, &status).await;
                let found = found.map_err(|error| match error {
                    DbError::NotFound { .. } => exception::migration_not_found_by_status(uuid, &status),
                    other => raised(other),
                });
                return Ok(found?.to_wire());
            }
            "get_by_filters" => migration_query(context, arguments)?,
            "get_in_progress_by_host_and_node" => on_host(arguments, &IN_PROGRESS_ENDS)?,
            "get_in_progress_and_error" => on_host(arguments, &IN_PROGRESS_ENDS[1..])?,
            "get_in_progress_by_instance" => MigrationQuery {
                instance_uuid: Some(arguments.uuid(0, "instance_uuid")?),
                migration_type: arguments.optional_text(1, "migration_type"),
                statuses: Some(status::LIVE_IN_PROGRESS.map(str::to_owned).to_vec()),
                ..MigrationQuery::default()
            },
            other => return Err(unsupported("Migration", other)),
        };
        Ok(MigrationList::from(server_migrations::list(db, &query).await.map_err(raised)?).to_wire())
    }

    async fn instance_save(&self, context: &RequestContext, action: &ObjectAction) -> Result<Value, RemoteException> {
        let instance: Instance = object(&action.objinst)?;
        let arguments = Arguments { args: &action.args, kwargs: &action.kwargs };
        let save = Save {
            uuid: instance.uuid,
            changes: &changed(&action.objinst),
            expected_vm_state: arguments
                .states::<VmState>(0, "expected_vm_state")?
                .map(|states| states.into_iter().flatten().collect()),
            expected_task_state: arguments.states::<TaskState>(1, "expected_task_state")?,
        };
        match instances::save_and_get_original(&self.db, save).await {
            Ok((before, saved)) => {
                // Signs of life change nothing.
                if self.notifications.follows_changes() && !changes(&action.objinst).is_empty() {
                    self.notifications.instance_saved(context, &before, &saved);
                }
                Ok(updates(&action.objinst, &*saved))
            }
            Err(error) => Err(save_raised(error, instance.uuid)),
        }
    }
}

/// Positional and named arguments of a Python call.
struct Arguments<'a> {
    args: &'a [Value],
    kwargs: &'a BTreeMap<String, Value>,
}

impl Arguments<'_> {
    fn get(&self, place: usize, name: &str) -> Option<&Value> {
        self.kwargs.get(name).or_else(|| self.args.get(place)).filter(|value| !value.is_null())
    }

    fn optional_text(&self, place: usize, name: &str) -> Option<String> {
        self.get(place, name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn text(&self, place: usize, name: &str) -> Result<String, RemoteException> {
        self.optional_text(place, name).ok_or_else(|| type_error(format!("the argument {name} is missing")))
    }

    fn uuid(&self, place: usize, name: &str) -> Result<Uuid, RemoteException> {
        let text = self.text(place, name)?;
        text.parse().map_err(|_| type_error(format!("{name} {text:?} is not a UUID")))
    }

    /// `2026-11-22T18:35:34Z`, or with microseconds and without a zone.
    fn instant(&self, place: usize, name: &str) -> Result<DateTime<Utc>, RemoteException> {
        let text = self.text(place, name)?;
        DateTime::from_wire(&json!(text)).map_err(|error| type_error(format!("{name}: {error}")))
    }

    fn flag(&self, place: usize, name: &str) -> bool {
        self.get(place, name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// One state or a list of states, each of which may be null.
    fn states<T: Wire>(&self, place: usize, name: &str) -> Result<Option<Vec<Option<T>>>, RemoteException> {
        let Some(value) = self.get(place, name) else { return Ok(None) };
        let list = match value {
            Value::Array(_) => value.clone(),
            single => json!([single]),
        };
        Vec::from_wire(&list).map(Some).map_err(|error| type_error(format!("{name}: {error}")))
    }
}

fn query(arguments: &Arguments<'_>) -> Result<InstanceQuery, RemoteException> {
    let filters = arguments.get(0, "filters").and_then(Value::as_object).cloned().unwrap_or_default();
    let text = |name: &str| filters.get(name).and_then(Value::as_str).map(str::to_owned);
    let known = ["host", "node", "deleted", "project_id", "user_id"];
    if let Some(unknown) = filters.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(type_error(format!("the filter {unknown} is not served")));
    }
    let key = arguments.optional_text(1, "sort_key").unwrap_or_else(|| "created_at".to_owned());
    let is_descending = arguments.optional_text(2, "sort_dir").is_none_or(|direction| direction != "asc");
    let marker = arguments.optional_text(4, "marker").map(|marker| marker.parse()).transpose();
    Ok(InstanceQuery {
        host: text("host"),
        node: text("node"),
        project_id: text("project_id"),
        user_id: text("user_id"),
        deleted: match filters.get("deleted") {
            Some(Value::Bool(true)) => Deleted::Only,
            Some(Value::Bool(false)) => Deleted::No,
            _ => Deleted::Yes,
        },
        sort: vec![(key, is_descending)],
        limit: arguments.get(3, "limit").and_then(Value::as_u64),
        marker: marker.map_err(|_| type_error("marker is not a UUID".to_owned()))?,
        ..InstanceQuery::default()
    })
}

/// The statuses that end a move, for those who ask what is in progress; who also asks for errors leaves the first out.
const IN_PROGRESS_ENDS: [&str; 7] = [
    status::ERROR,
    status::CONFIRMED,
    status::REVERTED,
    status::FAILED,
    status::COMPLETED,
    status::CANCELLED,
    status::DONE,
];

fn on_host(arguments: &Arguments<'_>, ends: &[&str]) -> Result<MigrationQuery, RemoteException> {
    Ok(MigrationQuery {
        host: Some(arguments.text(0, "host")?),
        node: Some(arguments.text(1, "node")?),
        not_statuses: Some(ends.iter().map(|end| (*end).to_owned()).collect()),
        ..MigrationQuery::default()
    })
}

fn migration_query(context: &RequestContext, arguments: &Arguments<'_>) -> Result<MigrationQuery, RemoteException> {
    let filters = arguments.get(0, "filters").and_then(Value::as_object).cloned().unwrap_or_default();
    let text = |name: &str| filters.get(name).and_then(Value::as_str).map(str::to_owned);
    let known =
        ["instance_uuid", "host", "source_compute", "dest_compute", "node", "status", "migration_type", "hidden"];
    if let Some(unknown) = filters.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(type_error(format!("the filter {unknown} is not served")));
    }
    let instance_uuid = text("instance_uuid").map(|uuid| uuid.parse()).transpose();
    let statuses = match filters.get("status") {
        Some(Value::Array(statuses)) => Some(statuses.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => text("status").map(|status| vec![status]),
    };
    Ok(MigrationQuery {
        instance_uuid: instance_uuid.map_err(|_| type_error("instance_uuid is not a UUID".to_owned()))?,
        host: text("host"),
        source_compute: text("source_compute"),
        dest_compute: text("dest_compute"),
        node: text("node"),
        statuses,
        migration_type: text("migration_type"),
        hidden: filters.get("hidden").and_then(Value::as_bool),
        deleted: if context.read_deleted == "yes" { Deleted::Yes } else { Deleted::No },
        ..MigrationQuery::default()
    })
}

/// Nova's rule: a move belongs to who asks for it.
fn owned(context: &RequestContext, migration: Migration) -> Migration {
    Migration {
        user_id: migration.user_id.or_else(|| context.user_id.clone()),
        project_id: migration.project_id.or_else(|| context.project_id.clone()),
        ..migration
    }
}

fn object<T: VersionedObject>(wire: &Value) -> Result<T, RemoteException> {
    T::from_wire(wire).map_err(|error| type_error(error.to_string()))
}

/// The fields that the sender changed.
fn changed(objinst: &Value) -> Map<String, Value> {
    let data = objinst.get("nova_object.data");
    let value = |name: &String| data.and_then(|data| data.get(name)).cloned();
    changes(objinst).into_iter().filter_map(|name| value(&name).map(|value| (name, value))).collect()
}

/// `[updates, result]`: the fields that differ from what the sender has.
fn updates<T: VersionedObject>(objinst: &Value, now: &T) -> Value {
    let empty = Map::new();
    let before = objinst.get("nova_object.data").and_then(Value::as_object).unwrap_or(&empty);
    let mut updates: Map<String, Value> =
        now.data().into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
    updates.insert("obj_what_changed".to_owned(), json!([]));
    json!([updates, null])
}

fn type_error(message: String) -> RemoteException {
    RemoteException::new("builtins", "TypeError", message)
}

fn unsupported(name: &str, method: &str) -> RemoteException {
    tracing::warn!(object = name, method, "an object method that this conductor does not serve");
    exception::nova(
        "ObjectActionError",
        format!("Object action {method} failed because: not supported for {name}"),
        500,
        &[("action", json!(method)), ("reason", json!(format!("not supported for {name}")))],
    )
}

fn raised(error: DbError) -> RemoteException {
    match &error {
        DbError::NotFound { resource: "instance", id } => match id.parse() {
            Ok(uuid) => exception::instance_not_found(uuid),
            Err(_) => exception::internal(&error),
        },
        _ => {
            tracing::error!(error = %exception::internal(&error).message, "a database operation failed");
            exception::internal(&error)
        }
    }
}

fn instance_raised(error: DbError, uuid: Uuid) -> RemoteException {
    match error {
        DbError::NotFound { resource: "instance", .. } => exception::instance_not_found(uuid),
        other => raised(other),
    }
}

fn action_raised(error: DbError, uuid: Uuid, request_id: &str) -> RemoteException {
    match error {
        DbError::NotFound { .. } => exception::instance_action_not_found(uuid, request_id),
        other => raised(other),
    }
}

fn bdm_raised(error: DbError, id: i64) -> RemoteException {
    match error {
        DbError::NotFound { .. } => {
            exception::nova("BDMNotFound", format!("No Block Device Mapping with id {id}."), 404, &[("id", json!(id))])
        }
        other => raised(other),
    }
}

fn migration_raised(error: DbError, id: &str) -> RemoteException {
    match error {
        DbError::NotFound { .. } => exception::migration_not_found(id),
        other => raised(other),
    }
}

fn service_raised(error: DbError, id: i64) -> RemoteException {
    match error {
        DbError::NotFound { .. } => exception::service_not_found(&id.to_string()),
        other => raised(other),
    }
}

fn save_raised(error: SaveError, uuid: Uuid) -> RemoteException {
    match error {
        SaveError::UnexpectedTaskState { expected, actual }
        | SaveError::UnexpectedDeletingTaskState { expected, actual } => {
            exception::unexpected_task_state(uuid, &expected, actual)
        }
        SaveError::UnexpectedVmState { expected, actual } => exception::unexpected_vm_state(uuid, &expected, actual),
        SaveError::Db(error) => instance_raised(error, uuid),
    }
}
