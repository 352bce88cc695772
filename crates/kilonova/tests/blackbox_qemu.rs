//! Real guests: the main job with `python-openstackclient` and QEMU, and guests that outlive their agent.

#[path = "common/client_story.rs"]
mod client_story;
mod common;
#[path = "common/console.rs"]
mod console;
#[path = "common/openstack.rs"]
mod openstack;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client_story::Story;
use common::{BOUND, Kilonova, User};
use console::{Console, web_socket_of};
use serde_json::{Value, json};

fn start() -> Kilonova {
    Kilonova::start("qemu", &["--guest-image", &common::guest_image()])
}

/// The QEMU process of a server, by its command line.
fn qemu(server_id: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains("qemu-system") && command.contains(server_id)
    })
}

fn ssh(user: &str, key: &Path, address: &str, command: &str) -> Result<String, String> {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let output = std::process::Command::new("ssh")
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-p", port, "-i"])
        .arg(key)
        .arg(format!("{user}@{host}"))
        .arg(command)
        .output()
        .expect("ssh is installed");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn the_openstack_client_does_the_main_job_with_qemu() {
    let mut cloud = start();
    client_story::tell(&cloud.clouds_yaml(), &Story { image: "guest", console: "login:" });
    assert_eq!(cloud.terminate(), Some(0), "{}", cloud.log_tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_outlives_its_agent_and_is_adopted_with_the_same_pid() {
    let mut cloud = start();
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await;
    let key = key_pair(&cloud, &user).await;
    let mut body = user.server("guest", json!([{"uuid": user.network("private").await}])).await;
    body["server"]["key_name"] = json!("key");
    body["server"]["metadata"] = json!({"purpose": "test"});
    let server = user.boot(&body).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    let id = server["id"].as_str().expect("an id").to_owned();
    let address = server["metadata"]["kilonova:ssh"].as_str().expect("a forwarded port").to_owned();
    let hostname = logs_in(&key, &address).await;
    assert_eq!(hostname.trim(), "guest");
    let pid = qemu(&id).expect("a QEMU process");

    cloud.kill();
    assert_eq!(qemu(&id), Some(pid), "the guest goes on without its agent");
    cloud.restart();
    assert_eq!(qemu(&id), Some(pid), "the guest was adopted");
    let again = user.get(&format!("/compute/v2.1/servers/{id}")).await["server"].take();
    assert_eq!(again["status"], "ACTIVE");
    assert_eq!(again["OS-EXT-STS:power_state"], 1);
    assert_eq!(logs_in(&key, &address).await.trim(), "guest");

    // The other way round: QEMU dies, the agent lives, and says so when it looks again.
    cloud.kill();
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("QEMU can be killed");
    cloud.restart();
    user.wait_for(&id, |server| server["status"] == "SHUTOFF").await;

    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
    user.wait_gone(&id).await;
    assert_eq!(qemu(&id), None);
    let instances = cloud.state_dir.path().join("instances").join(&id);
    assert!(!instances.exists(), "the guest's directory is gone");
}

/// What a program in the guest sees of what is done to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_suspended_copied_and_rescued_and_loses_nothing() {
    let cloud = start();
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await.at("2.90");
    let key = key_pair(&cloud, &user).await;
    let mut body = user.server("first", json!([{"uuid": user.network("private").await}])).await;
    body["server"]["key_name"] = json!("key");
    let server = user.boot(&body).await;
    let id = server["id"].as_str().expect("an id");
    let ssh_address =
        |server: &Value| server["metadata"]["kilonova:ssh"].as_str().expect("a forwarded port").to_owned();
    let address = ssh_address(&server);
    let act = async |action: Value, status: &str| {
        let (code, answer) = user.post(&format!("/compute/v2.1/servers/{id}/action"), &action).await;
        assert!(code.is_success(), "{action}: {answer}");
        user.wait_for(id, |server| server["status"] == status && server["OS-EXT-STS:task_state"].is_null()).await;
        answer
    };

    let pid = says(&key, &address, "echo kept > kept; sync; sleep 100000 > /dev/null 2>&1 & echo $!").await;
    let still_there = format!("kill -0 {} && cat kept", pid.trim());
    act(json!({"suspend": null}), "SUSPENDED").await;
    assert_eq!(qemu(id), None, "a suspended guest is no process");
    act(json!({"resume": null}), "ACTIVE").await;
    assert_eq!(says(&key, &address, &still_there).await, "kept\n");

    let copied = act(json!({"createImage": {"name": "copy"}}), "ACTIVE").await;
    assert_eq!(says(&key, &address, &still_there).await, "kept\n");
    body["server"]["name"] = json!("second");
    body["server"]["imageRef"] = copied["image_id"].clone();
    let second = user.boot(&body).await;
    assert_eq!(second["status"], "ACTIVE", "{second:#}");
    assert_eq!(says(&key, &ssh_address(&second), "hostname; cat kept").await, "second\nkept\n");

    act(json!({"rescue": {}}), "RESCUE").await;
    assert_eq!(says(&key, &address, "ls kept 2> /dev/null; ls /sys/block | grep -c vd").await, "3\n");
    act(json!({"unrescue": null}), "ACTIVE").await;
    assert_eq!(says(&key, &address, "cat kept").await, "kept\n");

    for id in [id, second["id"].as_str().expect("an id")] {
        assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
        user.wait_gone(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_has_a_screen_and_a_serial_port() {
    let cloud = start();
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await.at("2.96");
    let server = user.boot(&user.server("seen", json!("none")).await).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    let id = server["id"].as_str().expect("an id");
    let url = async |protocol: &str, kind: &str| {
        let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
        let (status, console) = user.post(&format!("/compute/v2.1/servers/{id}/remote-consoles"), &body).await;
        (status.as_u16(), console["remote_console"]["url"].as_str().unwrap_or_default().to_owned())
    };
    let (_, page) = url("vnc", "novnc").await;
    let mut screen = Console::open(&web_socket_of(&page), None).await;
    assert!(screen.greet_screen().await.contains("instance-"));
    let (_, address) = url("serial", "serial").await;
    let mut serial = Console::open(&address, None).await;
    serial.hear_until("login:").await;
    serial.say(b"nobody\n").await;
    serial.hear_until("assword").await;
    // What a user saw there is in the log too.
    let action = json!({"os-getConsoleOutput": {}});
    let (_, log) = user.post(&format!("/compute/v2.1/servers/{id}/action"), &action).await;
    assert!(log["output"].as_str().expect("a log").contains("login:"), "{log}");

    let (status, _) = user.post(&format!("/compute/v2.1/servers/{id}/action"), &json!({"os-stop": null})).await;
    assert!(status.is_success());
    user.wait_for(id, |server| server["status"] == "SHUTOFF").await;
    assert!(screen.hear().await.is_none(), "the screen is off");
    assert_eq!(url("vnc", "novnc").await.0, 409);
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
    user.wait_gone(id).await;
}

/// The guest has what the flavor says and its own data, whether it is what it became or what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_resized_and_keeps_its_data() {
    let cloud = start();
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await.at("2.90");
    let key = key_pair(&cloud, &user).await;
    let mut body = user.server("grows", json!([{"uuid": user.network("private").await}])).await;
    body["server"]["key_name"] = json!("key");
    let server = user.boot(&body).await;
    let id = server["id"].as_str().expect("an id");
    let address = server["metadata"]["kilonova:ssh"].as_str().expect("a forwarded port").to_owned();
    let act = async |action: Value, status: &str| {
        let (code, answer) = user.post(&format!("/compute/v2.1/servers/{id}/action"), &action).await;
        assert!(code.is_success(), "{action}: {answer}");
        user.wait_for(id, |server| server["status"] == status && server["OS-EXT-STS:task_state"].is_null()).await;
    };
    let admin = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "admin").await;
    let flavor = json!({"flavor": {"name": "larger", "ram": 256, "vcpus": 2, "disk": 2}});
    let (status, larger) = admin.post("/compute/v2.1/flavors", &flavor).await;
    assert!(status.is_success(), "{larger}");
    // The guest's disk in sectors, and whether it has more memory than it began with.
    let has = "cat kept; cat /sys/block/vda/size; awk '/MemTotal/ {print ($2 > 200000)}' /proc/meminfo";
    let (small, large) = ("kept\n2097152\n0\n", "kept\n4194304\n1\n");
    says(&key, &address, "echo kept > kept; sync").await;
    assert_eq!(says(&key, &address, has).await, small);

    let resize = json!({"resize": {"flavorRef": larger["flavor"]["id"]}});
    act(resize.clone(), "VERIFY_RESIZE").await;
    assert_eq!(says(&key, &address, has).await, large);
    act(json!({"revertResize": null}), "ACTIVE").await;
    assert_eq!(says(&key, &address, has).await, small);
    act(resize, "VERIFY_RESIZE").await;
    act(json!({"confirmResize": null}), "ACTIVE").await;
    assert_eq!(says(&key, &address, has).await, large);

    // What would lose data is refused, and the guest goes on.
    let pid = qemu(id);
    act(json!({"resize": {"flavorRef": user.flavor("m1.nano").await}}), "ACTIVE").await;
    assert_eq!((qemu(id), pid.is_some()), (pid, true));
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
    user.wait_gone(id).await;
    let left = std::fs::read_dir(cloud.state_dir.path().join("instances")).expect("the guests' directories");
    let left: Vec<_> = left.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    assert!(left.iter().all(|name| !name.starts_with(id)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_no_disk_is_an_error_that_says_so_and_the_service_goes_on() {
    let cloud = start();
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await;
    let image = json!({"name": "broken", "disk_format": "qcow2", "container_format": "bare"});
    let (status, made) = user.post("/image/v2/images", &image).await;
    assert_eq!(status, 201, "{made}");
    let image_id = made["id"].as_str().expect("an id");
    user.upload(&format!("/image/v2/images/{image_id}/file"), b"this is no qcow2 image".to_vec()).await;
    let mut body = user.server("broken", json!("none")).await;
    body["server"]["imageRef"] = json!(image_id);
    let server = user.boot(&body).await;
    assert_eq!(server["status"], "ERROR");
    let message = server["fault"]["message"].as_str().expect("a message");
    assert!(message.contains(image_id) && message.contains("unacceptable"), "{message}");

    let good = user.boot(&user.server("good", json!("none")).await).await;
    assert_eq!(good["status"], "ACTIVE", "{good:#}");
    for server in [server, good] {
        let id = server["id"].as_str().expect("an id");
        assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
        user.wait_gone(id).await;
    }
}

/// The file of the private key of a new key pair `key`.
async fn key_pair(cloud: &Kilonova, user: &User) -> PathBuf {
    let (status, made) = user.post("/compute/v2.1/os-keypairs", &json!({"keypair": {"name": "key"}})).await;
    assert!(status.is_success(), "{made}");
    let key = cloud.state_dir.path().join("key");
    common::write_private(&key, made["keypair"]["private_key"].as_str().expect("a private key"));
    key
}

async fn logs_in(key: &Path, address: &str) -> String {
    says(key, address, "hostname").await
}

/// What a command in the guest prints, once one can log in.
async fn says(key: &Path, address: &str, command: &str) -> String {
    let deadline = Instant::now() + BOUND;
    loop {
        match ssh("kilo", key, address, command) {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "no ssh login: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
