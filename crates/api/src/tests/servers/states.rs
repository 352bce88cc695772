//! Every action in every state: what it is refused for, and with which sentence.

use std::collections::BTreeMap;

use kilonova_objects::{TaskState, VmState};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, save};
use crate::routes::ROUTES;
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER};

/// When Nova lets an action begin, read from the checks of its compute API; `None`: whatever the state is.
struct Rule {
    /// In Nova's refusal: `Cannot '<word>' instance …`.
    word: &'static str,
    vm_states: Option<&'static [VmState]>,
    /// `None` among them: no task.
    tasks: Option<&'static [Option<TaskState>]>,
    /// What is said of a locked server to who is no admin; `None`: nothing.
    locked: Option<Locked>,
    body: Value,
}

impl Rule {
    fn has_limits(&self) -> bool {
        self.vm_states.is_some() || self.tasks.is_some()
    }

    /// What may begin in every state is tried in each vm_state and each task, and not in all pairs of them.
    fn is_tried_in(&self, vm_state: VmState, task_state: Option<TaskState>) -> bool {
        self.has_limits() || vm_state == VmState::Active || task_state.is_none()
    }
}

#[derive(Clone, Copy)]
enum Locked {
    /// That it is.
    IsLocked,
    /// That it is in an invalid state.
    IsInvalid,
}

const NO_TASK: Option<&[Option<TaskState>]> = Some(&[None]);

/// Actions of Nova by their name in the body. Those that are not in the route table are passed over.
fn rules() -> BTreeMap<&'static str, Rule> {
    use Locked::{IsInvalid, IsLocked};
    use TaskState as T;
    use VmState::{
        Active, Error, Paused, Rescued, Resized, Shelved, ShelvedOffloaded, SoftDeleted, Stopped, Suspended,
    };
    const HARD: Option<&[Option<TaskState>]> = Some(&[
        None,
        Some(T::Rebooting),
        Some(T::RebootPending),
        Some(T::RebootStarted),
        Some(T::RebootingHard),
        Some(T::Resuming),
        Some(T::Unpausing),
        Some(T::Pausing),
        Some(T::Suspending),
    ]);
    let rule = |name, vm_states: &'static [VmState], body| {
        (name, Rule { word: name, vm_states: Some(vm_states), tasks: NO_TASK, locked: Some(IsLocked), body })
    };
    let bare = |name, vm_states| rule(name, vm_states, json!({name: null}));
    let any = |name, locked, body| (name, Rule { word: name, vm_states: None, tasks: None, locked, body });
    let image = json!({"name": "image"});
    let backup = json!({"name": "backup", "backup_type": "daily", "rotation": 1});
    let live = json!({"host": null, "block_migration": "auto"});
    let id = Uuid::new_v4();
    let mut rules = BTreeMap::from([
        bare("os-start", &[Stopped]),
        bare("os-stop", &[Active, Error]),
        rule("reboot", &[Active, Stopped, Paused, Suspended, Error], json!({"reboot": {"type": "HARD"}})),
        bare("pause", &[Active]),
        bare("unpause", &[Paused]),
        bare("suspend", &[Active]),
        bare("resume", &[Suspended]),
        bare("rescue", &[Active, Stopped, Error]),
        bare("unrescue", &[Rescued]),
        rule("changePassword", &[Active], json!({"changePassword": {"adminPass": "x"}})),
        bare("trigger_crash_dump", &[Active, Paused, Rescued, Resized, Error]),
        bare("restore", &[SoftDeleted]),
        rule("rebuild", &[Active, Stopped, Error], json!({"rebuild": {"imageRef": id}})),
        rule("resize", &[Active, Stopped], json!({"resize": {"flavorRef": "2"}})),
        bare("confirmResize", &[Resized]),
        bare("revertResize", &[Resized]),
        bare("migrate", &[Active, Stopped]),
        rule("os-migrateLive", &[Active, Paused], json!({"os-migrateLive": live})),
        bare("shelve", &[Active, Stopped, Paused, Suspended]),
        bare("shelveOffload", &[Shelved]),
        bare("unshelve", &[Shelved, ShelvedOffloaded]),
        rule("createImage", &[Active, Stopped, Paused, Suspended], json!({"createImage": image})),
        rule("createBackup", &[Active, Stopped, Paused, Suspended], json!({"createBackup": backup})),
        any("forceDelete", Some(IsLocked), json!({"forceDelete": null})),
        any("injectNetworkInfo", Some(IsLocked), json!({"injectNetworkInfo": null})),
        any("lock", None, json!({"lock": null})),
        any("unlock", None, json!({"unlock": null})),
        any("os-resetState", None, json!({"os-resetState": {"state": "error"}})),
        any("os-getConsoleOutput", None, json!({"os-getConsoleOutput": {}})),
    ]);
    for (name, word) in [("os-start", "start"), ("os-stop", "stop")] {
        rules.entry(name).and_modify(|rule| rule.word = word);
    }
    rules.entry("reboot").and_modify(|rule| rule.tasks = HARD);
    for name in ["changePassword", "restore"] {
        rules.entry(name).and_modify(|rule| rule.locked = Some(IsInvalid));
    }
    // A lock is against what changes a server.
    for name in ["createImage", "createBackup"] {
        rules.entry(name).and_modify(|rule| rule.locked = None);
    }
    rules
}

/// Actions that ask for more than a state, or for none, and are tried elsewhere.
const ELSEWHERE: [&str; 13] = [
    "addSecurityGroup",
    "removeSecurityGroup",
    "addFixedIp",
    "removeFixedIp",
    "addFloatingIp",
    "removeFloatingIp",
    "evacuate",
    "resetNetwork",
    "os-getVNCConsole",
    "os-getSPICEConsole",
    "os-getRDPConsole",
    "os-getSerialConsole",
    "os-getMKSConsole",
];

/// The rules of the actions that there are.
fn actions() -> Vec<(&'static str, Rule)> {
    let mut rules = rules();
    let of_servers = ROUTES.iter().filter(|route| route.path == "/servers/{id}/action");
    let names = of_servers.filter_map(|route| route.action).filter(|name| !ELSEWHERE.contains(name));
    names
        .map(|name| {
            let rule = rules.remove(name);
            (name, rule.unwrap_or_else(|| panic!("the states of the action {name} are not in the table here")))
        })
        .collect()
}

fn tasks() -> impl Iterator<Item = Option<TaskState>> {
    std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some))
}

/// As a host would have left it, unlocked.
async fn put(cloud: &Cloud, uuid: Uuid, vm_state: VmState, task_state: Option<TaskState>) {
    let changes = json!({
        "vm_state": vm_state.as_str(), "task_state": task_state.map(TaskState::as_str), "host": HOST, "locked": false,
        "locked_by": null, "launched_at": "2026-11-23T07:00:00Z",
    });
    save(cloud, uuid, changes).await;
}

#[tokio::test]
async fn every_action_begins_in_the_states_that_nova_lets_it_begin_in_and_in_no_other() {
    let cloud = Cloud::new().await;
    let actions = actions();
    let mut tried = 0;
    let uuid = active(&cloud, "vm").await;
    for vm_state in VmState::ALL.iter().copied() {
        for task_state in tasks() {
            put(&cloud, uuid, vm_state, task_state).await;
            for (name, rule) in actions.iter().filter(|(_, rule)| rule.is_tried_in(vm_state, task_state)) {
                let path = format!("/servers/{uuid}/action");
                let reply = cloud.post(ADMIN, "2.96", &path, rule.body.clone()).await;
                let word = rule.word;
                let refusal = if rule.vm_states.is_some_and(|allowed| !allowed.contains(&vm_state)) {
                    Some(format!("Cannot '{word}' instance {uuid} while it is in vm_state {vm_state}"))
                } else if rule.tasks.is_some_and(|allowed| !allowed.contains(&task_state)) {
                    let task = task_state.map(TaskState::as_str).unwrap_or_default();
                    Some(format!("Cannot '{word}' instance {uuid} while it is in task_state {task}"))
                } else {
                    None
                };
                let what = format!("{name} in {vm_state}, {task_state:?}: {}", reply.body);
                match refusal {
                    Some(message) => assert_eq!((reply.status.as_u16(), reply.message()), (409, &*message), "{what}"),
                    None => {
                        assert!(!reply.message().starts_with("Cannot '"), "{what}");
                        put(&cloud, uuid, vm_state, task_state).await;
                    }
                }
                tried += 1;
            }
        }
    }
    let (vm_states, tasks) = (VmState::ALL.len(), TaskState::ALL.len() + 1);
    let counts =
        actions.iter().map(|(_, rule)| if rule.has_limits() { vm_states * tasks } else { vm_states + tasks - 1 });
    assert_eq!(tried, counts.sum::<usize>());
}

#[tokio::test]
async fn a_locked_server_is_for_admins_whatever_its_state_is() {
    let cloud = Cloud::with_policy(&for_members()).await;
    let uuid = active(&cloud, "vm").await;
    for vm_state in VmState::ALL.iter().copied() {
        for (name, rule) in actions() {
            put(&cloud, uuid, vm_state, None).await;
            save(&cloud, uuid, json!({"locked": true, "locked_by": "owner"})).await;
            let message = match rule.locked {
                Some(Locked::IsLocked) => format!("Instance {uuid} is locked"),
                Some(Locked::IsInvalid) => format!("Instance {uuid} is in an invalid state for '{}'", rule.word),
                None => continue,
            };
            let path = format!("/servers/{uuid}/action");
            let refused = cloud.post(MEMBER, "2.96", &path, rule.body.clone()).await;
            assert_eq!((refused.status.as_u16(), refused.message()), (409, &*message), "{name} in {vm_state}");
            let reply = cloud.post(ADMIN, "2.96", &path, rule.body).await;
            assert_ne!(reply.message(), message, "{name} in {vm_state}: {}", reply.body);
        }
    }
}

/// Members may do what else only admins may: the lock is looked at after the rights.
fn for_members() -> String {
    let of_servers = ROUTES.iter().filter(|route| route.path == "/servers/{id}/action" && !route.policy.is_empty());
    let rules: BTreeMap<_, _> = of_servers.map(|route| (route.policy, "rule:project_member_or_admin")).collect();
    json!(rules).to_string()
}
