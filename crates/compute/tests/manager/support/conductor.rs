//! A conductor in memory: the object methods that an agent calls, with Nova's rules for expected states, and a record
//! of all that was asked. It can be told to refuse, and to lose requests and replies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use kilonova_core::time::strtime;
use kilonova_messaging::{Dispatcher, Endpoint, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_objects::wire::{VersionedObject, changes};
use kilonova_objects::{
    BlockDeviceMapping, BlockDeviceMappingList, ComputeNode, ComputeNodeList, ConsoleAuthToken, Instance,
    InstanceFault, InstanceList, Migration, MigrationList, Service, TaskLog, TaskState, VmState, Wire,
};
use kilonova_rpcapi::conductor::{self, BuildInstances, MigrateServer, ObjectAction, ObjectClassActionVersions};
use kilonova_rpcapi::{exception, register};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::HOST;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The database is gone for a moment: nothing is written.
    Refuse,
    /// Nothing is written and nothing answered.
    LoseRequest,
    /// It is written, and nothing answered.
    LoseReply,
    /// It takes a while, and what is written or answered is what holds then.
    Slow,
}

/// A step of an action as the conductor was told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    /// `None`: begun. Else how it ended, with the message of a failure.
    pub end: Option<Option<String>>,
}

#[derive(Default)]
pub struct Rows {
    pub instances: BTreeMap<Uuid, Instance>,
    /// The disks of every instance.
    pub disks: BlockDeviceMappingList,
    /// Those of volumes, each of its own instance.
    pub volumes: Vec<BlockDeviceMapping>,
    /// By id.
    pub migrations: BTreeMap<i64, Migration>,
    pub services: Vec<Service>,
    pub nodes: Vec<ComputeNode>,
    pub faults: Vec<InstanceFault>,
    /// Permissions to connect to consoles, as they were asked for.
    pub consoles: Vec<ConsoleAuthToken>,
    pub events: Vec<Event>,
    /// Every method that was asked for, in order.
    pub asked: Vec<String>,
    /// What each `Instance.save` that was written changed.
    pub saves: Vec<Map<String, Value>>,
    /// How often a node was written.
    pub node_writes: usize,
    pub task_logs: Vec<TaskLog>,
    /// `build_instances`, as hosts gave back.
    pub given_back: Vec<BuildInstances>,
    /// `migrate_server`, as hosts gave back.
    pub moves_given_back: Vec<MigrateServer>,
    mishaps: Vec<(Call, Mishap)>,
    clock: i64,
}

/// Which call a mishap waits for.
type Call = Box<dyn Fn(&str, &Map<String, Value>) -> bool + Send>;

impl Rows {
    fn tick(&mut self) -> Option<DateTime<Utc>> {
        self.clock += 1;
        DateTime::from_timestamp(1_700_000_000 + self.clock, 0)
    }

    fn mishap(&mut self, method: &str, changed: &Map<String, Value>) -> Option<Mishap> {
        let at = self.mishaps.iter().position(|(is_call, _)| is_call(method, changed))?;
        Some(self.mishaps.remove(at).1)
    }
}

#[derive(Clone, Default)]
pub struct FakeConductor(Arc<Mutex<Rows>>);

impl FakeConductor {
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }

    /// The events once each that began has ended: the end comes by cast.
    pub async fn ended_events(&self) -> Vec<Event> {
        let is_open = || {
            let events = &self.rows().events;
            events.iter().filter(|event| event.end.is_none()).count() * 2 > events.len()
        };
        let ended = async {
            while is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("an event did not end");
        self.rows().events.clone()
    }

    pub fn instance(&self, uuid: Uuid) -> Instance {
        self.rows().instances[&uuid].clone()
    }

    /// Writes as the API, or another service, does.
    pub fn change(&self, uuid: Uuid, change: impl FnOnce(&mut Instance)) -> Instance {
        let mut rows = self.rows();
        let now = rows.tick();
        let instance = rows.instances.get_mut(&uuid).unwrap();
        change(instance);
        instance.updated_at = now;
        instance.clone()
    }

    pub fn put(&self, mut instance: Instance) -> Instance {
        let mut rows = self.rows();
        instance.created_at = rows.tick();
        instance.id = rows.clock;
        rows.instances.insert(instance.uuid, instance.clone());
        instance
    }

    /// The next `times` calls of `method`, such as `Instance.save`, that change `field` to `value` go wrong.
    pub fn mishap_at(&self, times: usize, mishap: Mishap, method: &'static str, field: &'static str, value: Value) {
        for _ in 0..times {
            let value = value.clone();
            let is_call: Call = Box::new(move |called, changed| called == method && changed.get(field) == Some(&value));
            self.rows().mishaps.push((is_call, mishap));
        }
    }

    /// The next `times` calls of `method`, such as `Instance.get_by_uuid`, go wrong.
    pub fn mishap(&self, times: usize, mishap: Mishap, method: &'static str) {
        for _ in 0..times {
            let is_call: Call = Box::new(move |called, _| called == method);
            self.rows().mishaps.push((is_call, mishap));
        }
    }

    pub async fn serve(&self, transport: Arc<dyn Transport>) -> RpcServer {
        let (objects, classes, tasks, moves) = (self.clone(), self.clone(), self.clone(), self.clone());
        let endpoint = Endpoint::new(None, conductor::VERSION);
        let endpoint = register(endpoint, move |_, action: ObjectAction| {
            let conductor = objects.clone();
            async move { conductor.object_action(&action).await }
        });
        let endpoint = register(endpoint, move |context, action: ObjectClassActionVersions| {
            let conductor = classes.clone();
            async move { conductor.class_action(&context, &action).await }
        });
        let task_endpoint = Endpoint::new(Some(conductor::TASK_NAMESPACE), conductor::TASK_VERSION);
        let task_endpoint = register(task_endpoint, move |_, message: BuildInstances| {
            tasks.rows().given_back.push(message);
            async { Ok(()) }
        });
        let task_endpoint = register(task_endpoint, move |_, message: MigrateServer| {
            moves.rows().moves_given_back.push(message);
            async { Ok(()) }
        });
        let target = kilonova_rpcapi::target(conductor::TOPIC).server("conductor1");
        let dispatcher = Dispatcher::new(vec![endpoint, task_endpoint]);
        RpcServer::start(transport, target, dispatcher, ServerOptions::default()).await.unwrap()
    }

    async fn object_action(&self, action: &ObjectAction) -> Result<Value, RemoteException> {
        let name = action.objinst["nova_object.name"].as_str().unwrap_or_default();
        let method = format!("{name}.{}", action.objmethod);
        let changed = changed(&action.objinst);
        self.rows().asked.push(method.clone());
        let mishap = self.rows().mishap(&method, &changed);
        suffer(mishap, || self.run(&method, action, &changed)).await
    }

    fn run(&self, method: &str, action: &ObjectAction, changed: &Map<String, Value>) -> Result<Value, RemoteException> {
        let wire = &action.objinst;
        let mut rows = self.rows();
        match method {
            "Instance.save" => {
                let saved = save(&mut rows, object(wire)?, changed, &action.kwargs)?;
                Ok(updates(wire, &saved))
            }
            "Instance.destroy" => {
                let instance: Instance = object(wire)?;
                let row = rows.instances.get_mut(&instance.uuid);
                let row = row.ok_or_else(|| exception::instance_not_found(instance.uuid))?;
                (row.deleted, row.vm_state, row.task_state) = (true, VmState::Deleted, None);
                Ok(updates(wire, row))
            }
            "BlockDeviceMapping.create" => {
                rows.clock += 1;
                let bdm = BlockDeviceMapping {
                    id: rows.clock,
                    uuid: Some(Uuid::new_v4()),
                    created_at: Some(chrono::Utc::now()),
                    ..object(wire)?
                };
                rows.volumes.push(bdm.clone());
                Ok(updates(wire, &bdm))
            }
            "BlockDeviceMapping.save" => {
                let bdm: BlockDeviceMapping = object(wire)?;
                let row = rows.volumes.iter_mut().find(|row| row.id == bdm.id);
                let row = row.ok_or_else(|| exception::nova("BDMNotFound", "gone".to_owned(), 404, &[]))?;
                *row = merged(row, changed);
                Ok(updates(wire, row))
            }
            "BlockDeviceMapping.destroy" => {
                let bdm: BlockDeviceMapping = object(wire)?;
                rows.volumes.retain(|row| row.id != bdm.id);
                Ok(updates(wire, &bdm))
            }
            "Migration.save" => {
                let migration: Migration = object(wire)?;
                let row = rows.migrations.get_mut(&migration.id);
                let row = row.ok_or_else(|| exception::migration_not_found(&migration.id.to_string()))?;
                *row = merged(row, changed);
                Ok(updates(wire, row))
            }
            "InstanceFault.create" => {
                let fault: InstanceFault = object(wire)?;
                rows.faults.push(fault.clone());
                Ok(updates(wire, &fault))
            }
            "ConsoleAuthToken.authorize" => {
                let console = ConsoleAuthToken { id: 1, token: "t-1".to_owned(), expires: 1, ..object(wire)? };
                rows.consoles.push(console.clone());
                Ok(updates(wire, &console))
            }
            "Service.create" => {
                let service = Service { id: rows.services.len() as i64 + 1, ..object(wire)? };
                rows.services.push(service.clone());
                Ok(updates(wire, &service))
            }
            "Service.save" => {
                let service: Service = object(wire)?;
                let row = rows.services.iter_mut().find(|row| row.id == service.id);
                let row = row.ok_or_else(|| exception::service_not_found(&service.id.to_string()))?;
                *row = merged(row, changed);
                Ok(updates(wire, row))
            }
            "TaskLog.begin_task" => {
                let run: TaskLog = object(wire)?;
                if rows.task_logs.iter().any(|row| row.period_beginning == run.period_beginning) {
                    return Err(exception::task_already_running(&run.task_name, &run.host));
                }
                rows.task_logs.push(TaskLog { state: "RUNNING".to_owned(), ..run.clone() });
                Ok(updates(wire, &run))
            }
            "TaskLog.end_task" => {
                let run: TaskLog = object(wire)?;
                let row = rows.task_logs.iter_mut().find(|row| row.period_beginning == run.period_beginning);
                let row = row.ok_or_else(|| exception::task_not_running(&run.task_name, &run.host))?;
                *row = TaskLog { state: "DONE".to_owned(), ..run.clone() };
                Ok(updates(wire, &run))
            }
            "ComputeNode.create" => {
                let node = ComputeNode { id: rows.nodes.len() as i64 + 1, ..object(wire)? };
                rows.node_writes += 1;
                rows.nodes.push(node.clone());
                Ok(updates(wire, &node))
            }
            "ComputeNode.save" => {
                let node: ComputeNode = object(wire)?;
                rows.node_writes += 1;
                let row = rows.nodes.iter_mut().find(|row| row.uuid == node.uuid);
                let row = row.ok_or_else(|| exception::compute_host_not_found(&node.uuid.to_string()))?;
                *row = merged(row, changed);
                Ok(updates(wire, row))
            }
            other => panic!("an agent called {other}"),
        }
    }

    async fn class_action(
        &self,
        context: &RequestContext,
        action: &ObjectClassActionVersions,
    ) -> Result<Value, RemoteException> {
        let method = format!("{}.{}", action.objname, action.objmethod);
        self.rows().asked.push(method.clone());
        let mishap = self.rows().mishap(&method, &Map::new());
        suffer(mishap, || self.run_class(&method, context, action)).await
    }

    fn run_class(
        &self,
        method: &str,
        context: &RequestContext,
        action: &ObjectClassActionVersions,
    ) -> Result<Value, RemoteException> {
        let text = |at: usize| action.args[at].as_str().unwrap().to_owned();
        let mut rows = self.rows();
        match method {
            "Instance.get_by_uuid" => {
                let uuid = action.kwargs["uuid"].as_str().unwrap().parse().unwrap();
                let found = rows.instances.get(&uuid);
                let found = found.filter(|instance| !instance.deleted || context.read_deleted == "yes");
                Ok(found.ok_or_else(|| exception::instance_not_found(uuid))?.to_wire())
            }
            "BlockDeviceMappingList.get_by_instance_uuid" => {
                let uuid = Some(text(0).parse().unwrap());
                let volumes = rows.volumes.iter().filter(|row| row.instance_uuid == uuid);
                let disks = rows.disks.objects.iter().chain(volumes).cloned().collect::<Vec<_>>();
                Ok(BlockDeviceMappingList::from(disks).to_wire())
            }
            "BlockDeviceMapping.get_by_volume_and_instance" => {
                let (volume, uuid) = (Some(text(0)), Some(text(1).parse().unwrap()));
                let is_it = |row: &&BlockDeviceMapping| row.volume_id == volume && row.instance_uuid == uuid;
                let found = rows.volumes.iter().find(is_it);
                Ok(found.ok_or_else(|| exception::volume_bdm_not_found(&text(0)))?.to_wire())
            }
            "Migration.get_by_id" => {
                let id = action.args[0].as_i64().unwrap();
                let found = rows.migrations.get(&id).cloned();
                Ok(found.ok_or_else(|| exception::migration_not_found(&id.to_string()))?.to_wire())
            }
            "MigrationList.get_by_filters" => Ok(migrations(&rows, &action.args[0]).to_wire()),
            "InstanceList._get_active_by_window_joined" => {
                assert_eq!(action.kwargs["host"], HOST);
                let launched = rows.instances.values().filter(|row| row.launched_at.is_some()).cloned();
                Ok(InstanceList::from(launched.collect::<Vec<_>>()).to_wire())
            }
            "TaskLog.get" => {
                let beginning = |row: &TaskLog| strtime(row.period_beginning);
                Ok(rows.task_logs.iter().find(|row| beginning(row) == text(1)).cloned().to_wire())
            }
            "InstanceList.get_by_filters" => Ok(page(&rows, &action.kwargs).to_wire()),
            "InstanceActionEvent.event_start" => {
                rows.events.push(Event { name: text(1), end: None });
                Ok(Value::Null)
            }
            "InstanceActionEvent.event_finish_with_failure" => {
                let failure = action.kwargs["exc_val"].as_str().map(str::to_owned);
                rows.events.push(Event { name: text(1), end: Some(failure) });
                Ok(Value::Null)
            }
            "Service.get_by_host_and_binary" => {
                let (host, binary) = (Some(text(0)), Some(text(1)));
                let found = rows.services.iter().find(|row| row.host == host && row.binary == binary);
                Ok(found.cloned().to_wire())
            }
            "ComputeNodeList.get_all_by_host" => {
                let host = text(0);
                let found = rows.nodes.iter().filter(|row| row.host.as_deref() == Some(&*host)).cloned();
                let found: Vec<_> = found.collect();
                if found.is_empty() {
                    return Err(exception::compute_host_not_found(&host));
                }
                Ok(ComputeNodeList::from(found).to_wire())
            }
            other => panic!("an agent called {other}"),
        }
    }
}

async fn suffer(
    mishap: Option<Mishap>,
    run: impl FnOnce() -> Result<Value, RemoteException>,
) -> Result<Value, RemoteException> {
    match mishap {
        None => run(),
        Some(Mishap::Refuse) => Err(exception::nova("NovaException", "the database went away".to_owned(), 500, &[])),
        Some(Mishap::Slow) => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            run()
        }
        Some(Mishap::LoseRequest) => std::future::pending().await,
        Some(Mishap::LoseReply) => {
            drop(run());
            std::future::pending().await
        }
    }
}

fn save(
    rows: &mut Rows,
    sent: Instance,
    changed: &Map<String, Value>,
    kwargs: &BTreeMap<String, Value>,
) -> Result<Instance, RemoteException> {
    let now = rows.tick();
    let row = rows.instances.get_mut(&sent.uuid).filter(|row| !row.deleted);
    let row = row.ok_or_else(|| exception::instance_not_found(sent.uuid))?;
    if let Some(expected) = kwargs.get("expected_task_state") {
        let expected = Vec::<Option<TaskState>>::from_wire(expected).unwrap();
        if !expected.contains(&row.task_state) {
            return Err(exception::unexpected_task_state(sent.uuid, &expected, row.task_state));
        }
    }
    if let Some(expected) = kwargs.get("expected_vm_state") {
        let expected = Vec::<VmState>::from_wire(expected).unwrap();
        if !expected.contains(&row.vm_state) {
            return Err(exception::unexpected_vm_state(sent.uuid, &expected, row.vm_state));
        }
    }
    let was = row.vm_state;
    *row = merged(row, changed);
    row.updated_at = now;
    if row.vm_state == VmState::SoftDeleted && was != VmState::SoftDeleted {
        row.deleted_at = now;
    }
    let saved = row.clone();
    rows.saves.push(changed.clone());
    Ok(saved)
}

fn migrations(rows: &Rows, filters: &Value) -> MigrationList {
    let is = |name: &str, value: &Value| filters.get(name).is_none_or(|wanted| wanted == value);
    let is_one_of = |status: &str| match filters.get("status") {
        Some(statuses) => statuses.as_array().unwrap().contains(&json!(status)),
        None => true,
    };
    let found = rows.migrations.values().filter(|row| {
        let (source, dest) = (json!(row.source_compute), json!(row.dest_compute));
        is("instance_uuid", &json!(row.instance_uuid))
            && is("source_compute", &source)
            && (is("host", &source) || is("host", &dest))
            && is_one_of(&row.status)
    });
    found.cloned().collect::<Vec<_>>().into()
}

fn page(rows: &Rows, kwargs: &BTreeMap<String, Value>) -> InstanceList {
    let host = kwargs["filters"]["host"].as_str();
    let mut found: Vec<_> =
        rows.instances.values().filter(|row| !row.deleted && row.host.as_deref() == host).cloned().collect();
    found.sort_by_key(|row| row.id);
    if let Some(marker) = kwargs["marker"].as_str() {
        let marker = rows.instances[&marker.parse().unwrap()].id;
        found.retain(|row| row.id > marker);
    }
    found.truncate(kwargs["limit"].as_u64().unwrap() as usize);
    found.into()
}

fn object<T: VersionedObject>(wire: &Value) -> Result<T, RemoteException> {
    T::from_wire(wire).map_err(|error| RemoteException::new("builtins", "TypeError", error.to_string()))
}

fn changed(wire: &Value) -> Map<String, Value> {
    changes(wire).into_iter().map(|name| (name.clone(), wire["nova_object.data"][&name].clone())).collect()
}

fn merged<T: VersionedObject>(row: &T, changed: &Map<String, Value>) -> T {
    let mut data = row.data();
    data.extend(changed.clone());
    T::from_data(&data).unwrap()
}

fn updates<T: VersionedObject>(wire: &Value, now: &T) -> Value {
    let before = wire["nova_object.data"].as_object().unwrap();
    let mut updates: Map<String, Value> =
        now.data().into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
    updates.insert("obj_what_changed".to_owned(), json!([]));
    json!([updates, null])
}
