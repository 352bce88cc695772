//! Services in processes of their own, as on many machines: they come in any order, are killed, lose their broker and
//! their database, and what was accepted is done.

#[path = "common/churn.rs"]
mod churn;
#[path = "common/cluster.rs"]
mod cluster;
mod common;
#[path = "common/console.rs"]
mod console;
#[path = "common/openstack.rs"]
mod openstack;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use churn::{Accepted, Random, consumers, devices, guests, settled};
use cluster::{Cluster, Shape};
use common::User;
use console::{Console, web_socket_of};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Servers that are created.
const SERVERS: usize = 200;
/// Of which so many are deleted again.
const DELETED: usize = 80;
/// Users at work at the same time.
const CLIENTS: usize = 8;
/// After the last mishap: leases of killed conductors end, and hosts that were down come back.
const SETTLE_BOUND: Duration = Duration::from_secs(150);

/// Creates and deletes, by one API or the other, until enough is done; an answer that is none, or says that the cloud
/// is not well, is taken as it would be by a patient user.
async fn client(apis: [User; 2], body: Value, accepted: Arc<Mutex<Accepted>>, seed: u64) {
    let mut random = Random(seed);
    let lock = || accepted.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let user = &apis[random.below(2) as usize];
        let victim = {
            let mut accepted = lock();
            if accepted.created.len() >= SERVERS && accepted.deleted.len() >= DELETED {
                return;
            }
            let candidates: Vec<&String> = accepted.created.difference(&accepted.perhaps_deleted).collect();
            let is_enough = accepted.created.len() >= SERVERS;
            let wants_delete = is_enough || (random.below(3) == 0 && accepted.perhaps_deleted.len() < DELETED);
            let at = random.below(candidates.len().max(1) as u64) as usize;
            let victim = candidates.get(at).map(|id| (*id).clone()).filter(|_| wants_delete);
            accepted.perhaps_deleted.extend(victim.clone());
            victim
        };
        match victim {
            Some(id) => delete(&apis, &id, &accepted).await,
            None => match user.try_request(Method::POST, "/compute/v2.1/servers", Some(&body)).await {
                Ok((StatusCode::ACCEPTED, body)) => {
                    lock().created.insert(body["server"]["id"].as_str().expect("an id").to_owned());
                }
                Ok((status, body)) if !status.is_server_error() => panic!("{status} {body}"),
                _ => tokio::time::sleep(Duration::from_millis(300)).await,
            },
        }
    }
}

/// Asks until the delete is accepted.
async fn delete(apis: &[User; 2], id: &str, accepted: &Mutex<Accepted>) {
    for user in apis.iter().cycle() {
        match user.try_request(Method::DELETE, &format!("/compute/v2.1/servers/{id}"), None).await {
            Ok((StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _)) => break,
            Ok((status, body)) if !status.is_server_error() => panic!("{status} {body}"),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
    accepted.lock().unwrap_or_else(PoisonError::into_inner).deleted.insert(id.to_owned());
}

/// Waits until a service is (not) alive as the API sees it.
async fn wait_for_service(admin: &User, host: &str, state: &str) {
    let deadline = Instant::now() + common::BOUND;
    loop {
        let services = admin.get(&format!("/compute/v2.1/os-services?host={host}")).await;
        if services["services"]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["state"] == state))
        {
            return;
        }
        assert!(Instant::now() < deadline, "{host} is not {state}: {services:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compute_agent_of_its_own_boots_a_real_guest() {
    let (screens, serial_ports) = (common::free_port(), common::free_port());
    let shape = Shape {
        apis: 1,
        conductors: 1,
        schedulers: 1,
        computes: 1,
        driver: "qemu",
        options: format!(
            "[DEFAULT]\ncontrol_exchange = elsewhere\n[standalone]\nguest_image = {}\n\
             [vnc]\nnovncproxy_base_url = http://127.0.0.1:{screens}/vnc_auto.html\n\
             novncproxy_host = 127.0.0.1\nnovncproxy_port = {screens}\n\
             [serial_console]\nenabled = true\nbase_url = ws://127.0.0.1:{serial_ports}/\n\
             serialproxy_host = 127.0.0.1\nserialproxy_port = {serial_ports}\n",
            common::guest_image()
        ),
    };
    let mut cluster = Cluster::start(&shape);
    let bindings = cluster.broker.rabbitmqctl(&["list_bindings", "source_name", "destination_name"]).expect("bindings");
    for queue in ["conductor", "scheduler", "compute", "compute.compute-1"] {
        assert!(
            bindings.contains(&format!("elsewhere\t{queue}\n")),
            "{queue} is not bound to the exchange:\n{bindings}"
        );
    }
    assert!(!bindings.contains("nova\t"), "{bindings}");
    let user = cluster.log_in("demo").await;
    let body = user.server("guest", json!([{"uuid": user.network("private").await}])).await;
    let server = user.boot(&body).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().expect("an id"));
    let deadline = Instant::now() + common::BOUND;
    loop {
        let (status, console) = user.post(&format!("{path}/action"), &json!({"os-getConsoleOutput": {}})).await;
        assert_eq!(status, StatusCode::OK, "{console}");
        let console = console["output"].as_str().unwrap_or_default().to_owned();
        if console.contains("login:") {
            break;
        }
        assert!(Instant::now() < deadline, "no login prompt:\n{console}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Its consoles are reached by proxies of their own, as Nova's pages look for them.
    cluster.add("novncproxy", "nova-novncproxy", 1, &shape);
    cluster.add("serialproxy", "nova-serialproxy", 1, &shape);
    for (proxy, protocol, kind) in [("novncproxy-1", "vnc", "novnc"), ("serialproxy-1", "serial", "serial")] {
        cluster.start_service(proxy);
        let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
        let (status, console) = user.at("2.96").post(&format!("{path}/remote-consoles"), &body).await;
        assert_eq!(status, StatusCode::OK, "{console}");
        let url = console["remote_console"]["url"].as_str().expect("an address");
        if kind == "novnc" {
            assert!(Console::open(&web_socket_of(url), None).await.greet_screen().await.contains("instance-"));
        } else {
            let mut console = Console::open(url, None).await;
            console.say(b"\n").await;
            console.hear_until("login:").await;
        }
        assert_eq!(cluster.terminate(proxy), Some(0), "{}", cluster.log_tail(proxy));
    }
    // The image came over HTTP, and nothing is kept of the way that it took.
    let downloads = cluster.state_path("compute-1").join("downloads");
    assert_eq!(std::fs::read_dir(downloads).expect("a directory").count(), 0);
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_gone(server["id"].as_str().expect("an id")).await;
    assert_eq!(cluster.terminate("compute-1"), Some(0), "{}", cluster.log_tail("compute-1"));
}

/// `deploy/three-hosts` with its own configuration files, one network namespace per host.
#[test]
fn the_three_host_example_runs_on_one_machine() {
    assert!(rustix::process::geteuid().is_root(), "network namespaces are made by root: run the tests as root");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/three-hosts");
    let dir = tempfile::Builder::new().prefix("kilonova-hosts-").tempdir().expect("a temporary directory");
    let story = r#"
        set -e
        cloud() { "$OPENSTACK" --os-cloud "$@"; }
        cloud kilonova-admin compute service list -f value -c Binary -c Host -c State
        for host in compute-1 compute-2; do
            cloud kilonova-admin --os-compute-api-version 2.74 server create --flavor m1.nano --image guest \
                --network private --host "$host" --wait "on-$host" -f value -c status
        done
        cloud kilonova-admin server list --all-projects --long -f value -c Name -c Host
        for host in compute-1 compute-2; do
            cloud kilonova-admin server delete --wait "on-$host"
        done
    "#;
    let output = std::process::Command::new(example.join("on-one-machine"))
        .args([env!("CARGO_BIN_EXE_kilonova").as_ref(), dir.path().join("hosts").as_os_str()])
        .args(["--driver", "fake", "--", "bash", "-c", story])
        .env("OPENSTACK", openstack::program())
        .output()
        .expect("the script starts");
    let (said, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{words}");
    for line in ["nova-compute compute-1 up", "nova-compute compute-2 up", "nova-conductor controller up"] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    assert_eq!(said.matches("ACTIVE\n").count(), 2, "{said}");
    assert!(said.contains("on-compute-1 compute-1\n") && said.contains("on-compute-2 compute-2\n"), "{said}");
}

/// What systemd would run is there, by that name and with those options.
#[test]
fn the_unit_files_start_what_there_is() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/three-hosts/systemd");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut count = 0;
    for unit in std::fs::read_dir(units).expect("unit files") {
        let text = std::fs::read_to_string(unit.expect("an entry").path()).expect("a unit file");
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
        let mut words = start.split(' ');
        let program = dir.path().join(Path::new(words.next().expect("a program")).file_name().expect("a name"));
        let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kilonova"), &program);
        let output = std::process::Command::new(program).args(words).arg("--help").output().expect("it starts");
        assert!(output.status.success(), "{start}: {}", String::from_utf8_lossy(&output.stderr));
        count += 1;
    }
    assert_eq!(count, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_broker_database_and_services_are_killed() {
    let shape = Shape { apis: 2, conductors: 2, schedulers: 1, computes: 3, driver: "fake", options: String::new() };
    let mut cluster = Cluster::start(&shape);
    let admin = cluster.log_in("admin").await;
    let user = cluster.log_in("demo").await;
    admin.lift_quotas(&user.project_id).await;
    for host in ["conductor-1", "conductor-2", "scheduler-1", "compute-1", "compute-2", "compute-3"] {
        wait_for_service(&admin, host, "up").await;
    }
    assert_eq!(cluster.manage("api-1", &["service", "list"]).matches(" up ").count(), 6);
    let hosts = cluster.manage("api-1", &["cell_v2", "discover_hosts"]);
    assert!(hosts.contains("compute-2") && hosts.contains("3 compute nodes"), "{hosts}");

    let body = user.server("victim", json!([{"uuid": user.network("private").await}])).await;
    let accepted = Arc::new(Mutex::new(Accepted::default()));
    let apis = [user.clone(), user.via(&cluster.api(1))];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(apis.clone(), body.clone(), accepted.clone(), number as u64)))
        .collect();
    let mut mishaps = 0;
    let steps: [&dyn Fn(&mut Cluster); 7] = [
        &|cluster| {
            cluster.broker.kill();
            cluster.broker.start_again().expect("RabbitMQ");
        },
        &|cluster| {
            cluster.kill("conductor-1");
            cluster.start_service("conductor-1");
        },
        &|cluster| {
            cluster.database.kill();
            cluster.database.start_again().expect("PostgreSQL");
        },
        &|cluster| {
            cluster.kill("compute-2");
            cluster.start_service("compute-2");
        },
        &|cluster| {
            cluster.kill("api-1");
            cluster.start_service("api-1");
        },
        &|cluster| {
            cluster.kill("scheduler-1");
            cluster.start_service("scheduler-1");
        },
        &|cluster| {
            assert_eq!(cluster.terminate("conductor-2"), Some(0), "{}", cluster.log_tail("conductor-2"));
            cluster.start_service("conductor-2");
        },
    ];
    for step in steps {
        // As long as servers come and go it is worth something.
        mishaps += usize::from(clients.iter().any(|client| !client.is_finished()));
        tokio::task::block_in_place(|| step(&mut cluster));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for client in clients {
        client.await.expect("the client saw no answer that it should not see");
    }
    println!("{mishaps} mishaps under load");
    assert_eq!(mishaps, steps.len(), "too little was going on");

    let accepted = Arc::into_inner(accepted).expect("every client is done").into_inner().unwrap();
    let servers = settled(&user, &accepted, SETTLE_BOUND).await;
    let live: BTreeSet<String> = servers.keys().cloned().collect();
    let lost: Vec<_> =
        accepted.created.difference(&accepted.perhaps_deleted).filter(|id| !live.contains(*id)).collect();
    assert!(lost.is_empty(), "accepted and gone: {lost:?}");
    let failed: Vec<_> = servers.values().filter(|server| server["status"] != "ACTIVE").collect();
    assert!(failed.is_empty(), "not active: {failed:#?}");
    let on_hosts: BTreeSet<String> =
        (1..=shape.computes).flat_map(|number| guests(&cluster.state_path(&format!("compute-{number}")))).collect();
    assert_eq!(on_hosts, live, "guests");
    assert_eq!(consumers(&admin).await, live, "allocations");
    assert_eq!(devices(&admin).await, live, "ports");
    let db = kilonova_db::Db::open(&format!("{}/postgres", cluster.database.url())).await.unwrap();
    assert_eq!(kilonova_db::workflows::count(&db).await.unwrap(), 0, "workflows");
    for name in ["api-1", "compute-1", "scheduler-1", "conductor-1", "placement-1", "standalone-1"] {
        assert_eq!(cluster.terminate(name), Some(0), "{}", cluster.log_tail(name));
    }
}
