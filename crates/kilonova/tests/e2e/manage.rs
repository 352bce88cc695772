//! `kilonova manage` beside a running cloud.

use std::process::{Command, Output};

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cloud::TestCloud;

/// Runs the command on the database of a cloud; what it ended with, and what it printed.
fn manage(cloud: &TestCloud, arguments: &[&str]) -> (i32, String) {
    let config = cloud.state_dir().join("manage.conf");
    let database = cloud.state_dir().join("kilonova.sqlite");
    std::fs::write(&config, format!("[database]\nconnection = sqlite:///{}\n", database.display())).expect("written");
    let mut manage = Command::new(env!("CARGO_BIN_EXE_kilonova"));
    let output = manage.args(["manage", "--config-file"]).arg(&config).args(arguments).output();
    let Output { status, stdout, stderr } = output.expect("the binary starts");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().expect("it ends by itself"), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_nothing_is_given_it_and_who_holds_for_nobody_loses_it() {
    let cloud = TestCloud::start().await;
    let (user, admin) = (cloud.user("demo").await.at("2.96"), cloud.user("admin").await);
    let server = user.boot(&user.server("vm", json!("none")).await).await;
    let id = server["id"].as_str().expect("an id").to_owned();
    let path = format!("/placement/allocations/{id}");
    let held = admin.get(&path).await["allocations"].clone();
    let heal = |more: &[&'static str]| manage(&cloud, &[&["placement", "heal_allocations"], more].concat());
    let (status, text) = heal(&[]);
    assert_eq!((status, text.trim()), (4, "Processed 0 instances."));

    assert_eq!(admin.delete(&path).await, StatusCode::NO_CONTENT);
    let (status, text) = heal(&["--dry-run"]);
    assert!(
        status == 0 && text.contains(&format!("[dry-run] Create allocations for instance {id}")),
        "{status} {text}"
    );
    assert_eq!(admin.get(&path).await["allocations"], json!({}));
    let (status, text) = heal(&["--verbose"]);
    assert!(status == 0 && text.contains("MEMORY_MB:128"), "{status} {text}");
    let healed = admin.get(&path).await["allocations"].clone();
    let resources = |allocations: &Value| {
        let allocations = allocations.as_object().expect("providers").iter();
        allocations.map(|(provider, held)| (provider.clone(), held["resources"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(resources(&healed), resources(&held));

    let audit = |more: &[&str]| manage(&cloud, &[&["placement", "audit"], more].concat());
    assert_eq!(audit(&[]).0, 0);
    let (provider, of_server) = resources(&held).remove(0);
    let nobody = Uuid::new_v4();
    // As Placement's first version takes it.
    let body = json!({"allocations": [{"resource_provider": {"uuid": provider}, "resources": of_server}]});
    let orphan = format!("/placement/allocations/{nobody}");
    let (status, answer) = admin.put(&orphan, &body).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    let (status, text) = audit(&["--verbose"]);
    assert!(status == 3 && text.contains(&nobody.to_string()) && text.contains("MEMORY_MB:128"), "{status} {text}");
    assert_eq!(audit(&["--resource_provider", &Uuid::new_v4().to_string(), "--delete"]).0, 127);
    let (status, text) = audit(&["--resource_provider", &provider, "--delete"]);
    assert!(
        status == 4 && text.contains(&format!("Deleted allocations for consumer UUID {nobody}")),
        "{status} {text}"
    );
    assert_eq!(admin.get(&orphan).await["allocations"], json!({}));
    assert_eq!(resources(&admin.get(&path).await["allocations"]), resources(&held));
    assert_eq!(manage(&cloud, &["placement", "heal_allocations", "--instance", &nobody.to_string()]).0, 127);
}
