//! Servers move between two hosts: resized, migrated off and live, evacuated.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::TestCloud;
use crate::common::User;

const HOSTS: [&str; 2] = ["host1", "host1-2"];

/// A cloud on two hosts, its administrator, and a server of theirs.
struct World {
    cloud: TestCloud,
    admin: User,
    id: String,
}

impl World {
    async fn new() -> Self {
        Self::on_hosts(2, "").await
    }

    async fn on_hosts(hosts: usize, config: &str) -> Self {
        let cloud = TestCloud::on_hosts(hosts, config).await;
        let admin = cloud.user("admin").await.at("2.96");
        let network = admin.network("private").await;
        let server = admin.boot(&admin.server("mover", json!([{"uuid": network}])).await).await;
        assert_eq!(server["status"], "ACTIVE", "{server:#}");
        let id = server["id"].as_str().expect("an id").to_owned();
        Self { cloud, admin, id }
    }

    /// A flavor that is larger than that of the server.
    async fn larger(&self) -> String {
        let flavor = json!({"flavor": {"name": "larger", "vcpus": 3, "ram": 256, "disk": 4}});
        let (status, created) = self.admin.post("/compute/v2.1/flavors", &flavor).await;
        assert_eq!(status, StatusCode::OK, "{created}");
        created["flavor"]["id"].as_str().expect("an id").to_owned()
    }

    async fn act(&self, body: Value) -> StatusCode {
        let (status, answer) = self.admin.post(&format!("/compute/v2.1/servers/{}/action", self.id), &body).await;
        assert!(status.is_success(), "{body}: {status} {answer}");
        status
    }

    async fn wait(&self, status: &str) -> Value {
        let settled = |server: &Value| server["status"] == status && server["OS-EXT-STS:task_state"].is_null();
        self.admin.wait_for(&self.id, settled).await
    }

    async fn server(&self) -> Value {
        self.admin.get(&format!("/compute/v2.1/servers/{}", self.id)).await["server"].take()
    }

    async fn host(&self) -> String {
        self.server().await["OS-EXT-SRV-ATTR:host"].as_str().expect("a host").to_owned()
    }

    /// What the consumer has, as (provider's name, vCPUs).
    async fn allocations(&self, consumer: &str) -> Vec<(String, i64)> {
        let body = self.admin.get(&format!("/placement/allocations/{consumer}")).await;
        let mut held = Vec::new();
        for (provider, allocation) in body["allocations"].as_object().expect("allocations") {
            let name = self.admin.get(&format!("/placement/resource_providers/{provider}")).await;
            let vcpus = allocation["resources"]["VCPU"].as_i64().expect("a number");
            held.push((name["name"].as_str().expect("a name").to_owned(), vcpus));
        }
        held
    }

    /// The newest record of a move.
    async fn migration(&self) -> Value {
        let path = format!("/compute/v2.1/os-migrations?instance_uuid={}", self.id);
        self.admin.get(&path).await["migrations"].get(0).cloned().unwrap_or_default()
    }

    async fn wait_migration(&self, status: &str) -> Value {
        let deadline = std::time::Instant::now() + crate::common::BOUND;
        loop {
            let migration = self.migration().await;
            if migration["status"] == status {
                return migration;
            }
            assert!(std::time::Instant::now() < deadline, "no move came to be {status}: {migration:#}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn port_host(&self) -> Value {
        let ports = self.admin.get(&format!("/network/v2.0/ports?device_id={}", self.id)).await;
        ports["ports"][0]["binding:host_id"].clone()
    }

    async fn console(&self) -> String {
        let path = format!("/compute/v2.1/servers/{}/action", self.id);
        let (_, body) = self.admin.post(&path, &json!({"os-getConsoleOutput": {}})).await;
        body["output"].as_str().expect("a log").to_owned()
    }
}

fn other(host: &str) -> &'static str {
    HOSTS.into_iter().find(|other| *other != host).expect("another host")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_moves_a_server_to_another_host_and_its_confirmation_frees_the_first() {
    let world = World::new().await;
    let before = world.server().await;
    let source = world.host().await;
    let flavor = world.larger().await;
    assert_eq!(world.act(json!({"resize": {"flavorRef": flavor}})).await, StatusCode::ACCEPTED);
    let resized = world.wait("VERIFY_RESIZE").await;
    assert_eq!(resized["OS-EXT-SRV-ATTR:host"], other(&source));
    assert_eq!((&resized["flavor"]["vcpus"], &resized["addresses"]), (&json!(3), &before["addresses"]));
    let migration = world.migration().await;
    assert_eq!((&migration["status"], &migration["migration_type"]), (&json!("finished"), &json!("resize")));
    assert_eq!((&migration["source_compute"], &migration["dest_compute"]), (&json!(source), &json!(other(&source))));
    let record = migration["uuid"].as_str().unwrap();
    assert_eq!(world.allocations(&world.id).await, [(other(&source).to_owned(), 3)]);
    assert_eq!(world.allocations(record).await, [(source.clone(), 1)]);
    assert_eq!(world.port_host().await, other(&source));

    assert_eq!(world.act(json!({"confirmResize": null})).await, StatusCode::NO_CONTENT);
    world.wait("ACTIVE").await;
    assert_eq!(world.migration().await["status"], "confirmed");
    assert_eq!(world.allocations(record).await, []);
    let actions = world.admin.get(&format!("/compute/v2.1/servers/{}/os-instance-actions", world.id)).await;
    let names: Vec<_> =
        actions["instanceActions"].as_array().unwrap().iter().map(|action| action["action"].clone()).collect();
    assert_eq!(json!(names), json!(["confirmResize", "resize", "create"]));
    let resize = actions["instanceActions"][1]["request_id"].as_str().unwrap();
    let path = format!("/compute/v2.1/servers/{}/os-instance-actions/{resize}", world.id);
    let shown = world.admin.get(&path).await;
    let events = shown["instanceAction"]["events"].as_array().unwrap();
    let mut names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    names.sort_unstable();
    let expected = [
        "cold_migrate",
        "compute_finish_resize",
        "compute_prep_resize",
        "compute_resize_instance",
        "conductor_migrate_server",
    ];
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reverted_resize_leaves_everything_as_it_was() {
    let world = World::new().await;
    let (before, source) = (world.server().await, world.host().await);
    let flavor = world.larger().await;
    world.act(json!({"resize": {"flavorRef": flavor}})).await;
    world.wait("VERIFY_RESIZE").await;
    assert_eq!(world.act(json!({"revertResize": null})).await, StatusCode::ACCEPTED);
    let reverted = world.wait("ACTIVE").await;
    assert_eq!(reverted["OS-EXT-SRV-ATTR:host"], json!(source));
    for field in ["flavor", "addresses", "OS-EXT-AZ:availability_zone", "OS-EXT-STS:power_state"] {
        assert_eq!(reverted[field], before[field], "{field}");
    }
    let migration = world.migration().await;
    assert_eq!(migration["status"], "reverted");
    assert_eq!(world.allocations(&world.id).await, [(source.clone(), 1)]);
    assert_eq!(world.allocations(migration["uuid"].as_str().unwrap()).await, []);
    assert_eq!(world.port_host().await, json!(source));
    assert!(world.console().await.contains("boot 2"), "{}", world.console().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_is_confirmed_by_itself_where_the_operator_says_so() {
    let world = World::on_hosts(2, "[DEFAULT]\nresize_confirm_window = 1\n").await;
    let source = world.host().await;
    let flavor = world.larger().await;
    world.act(json!({"resize": {"flavorRef": flavor}})).await;
    let migration = world.wait_migration("confirmed").await;
    let moved = world.wait("ACTIVE").await;
    assert_eq!((&moved["OS-EXT-SRV-ATTR:host"], &moved["flavor"]["vcpus"]), (&json!(other(&source)), &json!(3)));
    assert_eq!(world.allocations(migration["uuid"].as_str().unwrap()).await, []);
    assert_eq!(world.allocations(&world.id).await, [(other(&source).to_owned(), 3)]);
    let actions = world.admin.get(&format!("/compute/v2.1/servers/{}/os-instance-actions", world.id)).await;
    let confirmation = &actions["instanceActions"][0];
    assert_eq!((&confirmation["action"], &confirmation["user_id"]), (&json!("confirmResize"), &Value::Null));
    let path = format!("/compute/v2.1/servers/{}/action", world.id);
    let (status, body) = world.admin.post(&path, &json!({"revertResize": null})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_stays_on_its_host_where_that_is_allowed() {
    let world = World::on_hosts(1, "[DEFAULT]\nallow_resize_to_same_host = true\n").await;
    let flavor = world.larger().await;
    for (end, status, vcpus) in [("revertResize", "reverted", 1), ("confirmResize", "confirmed", 3)] {
        world.act(json!({"resize": {"flavorRef": flavor}})).await;
        world.wait("VERIFY_RESIZE").await;
        assert_eq!(world.allocations(&world.id).await, [("host1".to_owned(), 3)]);
        world.act(json!({end: null})).await;
        let ended = world.wait("ACTIVE").await;
        assert_eq!(ended["flavor"]["vcpus"], vcpus, "{end}");
        assert_eq!(world.migration().await["status"], status);
        assert_eq!(world.allocations(&world.id).await, [("host1".to_owned(), vcpus)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_migrates_and_stays_stopped() {
    let world = World::new().await;
    let source = world.host().await;
    world.act(json!({"os-stop": null})).await;
    world.wait("SHUTOFF").await;
    assert_eq!(world.act(json!({"migrate": {"host": other(&source)}})).await, StatusCode::ACCEPTED);
    let moved = world.wait("VERIFY_RESIZE").await;
    assert_eq!((&moved["OS-EXT-SRV-ATTR:host"], &moved["OS-EXT-STS:power_state"]), (&json!(other(&source)), &json!(4)));
    world.act(json!({"confirmResize": null})).await;
    world.wait("SHUTOFF").await;
    assert_eq!(world.migration().await["migration_type"], "migration");
    world.act(json!({"os-start": null})).await;
    world.wait("ACTIVE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_without_another_host_leaves_the_server_running_and_says_why() {
    let world = World::on_hosts(1, "").await;
    world.act(json!({"migrate": null})).await;
    world.wait_migration("error").await;
    let server = world.wait("ACTIVE").await;
    assert_eq!(server["OS-EXT-SRV-ATTR:host"], "host1");
    assert_eq!(world.allocations(&world.id).await, [("host1".to_owned(), 1)]);
    let actions = world.admin.get(&format!("/compute/v2.1/servers/{}/os-instance-actions", world.id)).await;
    assert_eq!(actions["instanceActions"][0]["message"], "Error", "{actions:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_for_its_confirmation_is_deleted_from_both_hosts() {
    let world = World::new().await;
    world.act(json!({"migrate": null})).await;
    world.wait("VERIFY_RESIZE").await;
    let record = world.migration().await["uuid"].as_str().unwrap().to_owned();
    let path = format!("/compute/v2.1/servers/{}", world.id);
    assert_eq!(world.admin.delete(&path).await, StatusCode::NO_CONTENT);
    world.admin.wait_gone(&world.id).await;
    assert_eq!(world.allocations(&world.id).await, []);
    assert_eq!(world.allocations(&record).await, []);
    let left = || {
        let hosts = HOSTS.map(|host| world.cloud.state_dir().join("fake").join(host));
        hosts.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().count()
    };
    let deadline = std::time::Instant::now() + crate::common::BOUND;
    while left() > 0 {
        assert!(std::time::Instant::now() < deadline, "a guest was left");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let list = format!("/compute/v2.1/os-migrations?instance_uuid={}", world.id);
    assert_eq!(world.admin.get(&list).await["migrations"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_migrates_live_without_a_boot() {
    let world = World::new().await;
    let source = world.host().await;
    let before = world.console().await;
    let wanted = json!({"os-migrateLive": {"host": null, "block_migration": "auto"}});
    assert_eq!(world.act(wanted).await, StatusCode::ACCEPTED);
    let migration = world.wait_migration("completed").await;
    assert_eq!((&migration["source_compute"], &migration["dest_compute"]), (&json!(source), &json!(other(&source))));
    let moved = world.wait("ACTIVE").await;
    assert_eq!(moved["OS-EXT-SRV-ATTR:host"], other(&source));
    assert_eq!(moved["OS-EXT-STS:power_state"], 1);
    assert_eq!(world.console().await, before);
    assert_eq!(world.allocations(&world.id).await, [(other(&source).to_owned(), 1)]);
    assert_eq!(world.allocations(migration["uuid"].as_str().unwrap()).await, []);
    assert_eq!(world.port_host().await, other(&source));
    let below = format!("/compute/v2.1/servers/{}/migrations", world.id);
    assert_eq!(world.admin.get(&below).await["migrations"], json!([]));

    // Back again: forced, and with the checks before the answer.
    let old = world.admin.at("2.30");
    let path = format!("/compute/v2.1/servers/{}/action", world.id);
    let here = json!({"os-migrateLive": {"host": other(&source), "block_migration": false, "force": true}});
    let (status, body) = old.post(&path, &here).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let message = format!("Unable to migrate instance ({}) to current host ({}).", world.id, other(&source));
    assert_eq!(body["badRequest"]["message"], json!(message));
    let back = json!({"os-migrateLive": {"host": source, "block_migration": false, "force": true}});
    let (status, body) = old.post(&path, &back).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    world.wait_migration("completed").await;
    assert_eq!(world.wait("ACTIVE").await["OS-EXT-SRV-ATTR:host"], json!(source));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_host_that_is_down_is_made_again_on_another_one() {
    let world = World::new().await;
    let source = world.host().await;
    let path = format!("/compute/v2.1/servers/{}/action", world.id);
    let (status, body) = world.admin.post(&path, &json!({"evacuate": {}})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert_eq!(body["badRequest"]["message"], format!("Compute service of {source} is still in use."));
    let services = world.admin.get(&format!("/compute/v2.1/os-services?host={source}&binary=nova-compute")).await;
    let service = format!("/compute/v2.1/os-services/{}", services["services"][0]["id"].as_str().unwrap());
    let (status, body) = world.admin.put(&service, &json!({"forced_down": true})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(world.act(json!({"evacuate": {}})).await, StatusCode::OK);
    world.wait_migration("done").await;
    // Since 2.95 it is stopped.
    let evacuated = world.wait("SHUTOFF").await;
    assert_eq!(evacuated["OS-EXT-SRV-ATTR:host"], other(&source));
    assert_eq!(world.allocations(&world.id).await, [(other(&source).to_owned(), 1)]);
    assert_eq!(world.port_host().await, other(&source));
    let record = world.migration().await["uuid"].as_str().unwrap().to_owned();
    assert_eq!(world.allocations(&record).await, [(source.clone(), 1)]);

    // The host comes back: what it still has goes.
    let mut world = world;
    let (status, _) = world.admin.put(&service, &json!({"forced_down": false})).await;
    assert_eq!(status, StatusCode::OK);
    world.cloud.restart().await;
    world.wait_migration("completed").await;
    assert_eq!(world.allocations(&record).await, []);
    let guests = |host: &str| std::fs::read_dir(world.cloud.state_dir().join("fake").join(host)).unwrap().count();
    assert_eq!((guests(&source), guests(other(&source))), (0, 1));
    world.act(json!({"os-start": null})).await;
    world.wait("ACTIVE").await;
}
