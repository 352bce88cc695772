//! The main job with the ordinary client: from a token to a deleted server. The same story for every driver.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::openstack::{OpenStack, row};

/// What differs between drivers.
pub(crate) struct Story<'a> {
    /// The image to boot.
    pub(crate) image: &'a str,
    /// What the console log must come to hold.
    pub(crate) console: &'a str,
}

/// Walks through the story on the cloud of `clouds_yaml`.
pub(crate) fn tell(clouds_yaml: &Path, story: &Story<'_>) {
    let cli = OpenStack::new(clouds_yaml, "kilonova");
    assert!(cli.json(&["token", "issue"])["id"].as_str().is_some_and(|token| token.len() > 20));
    assert_eq!(row(&cli.json(&["flavor", "list"]), "m1.nano")["Disk"], 1);
    images(&cli, clouds_yaml);
    keypairs(&cli, clouds_yaml);

    let created = cli.json(&[
        "server",
        "create",
        "--image",
        story.image,
        "--flavor",
        "m1.nano",
        "--network",
        "private",
        "--key-name",
        "key",
        "--property",
        "purpose=story",
        "--wait",
        "story",
    ]);
    assert_eq!(created["status"], "ACTIVE", "{created:#}");
    let listed = cli.json(&["server", "list"]);
    assert_eq!(row(&listed, "story")["Status"], "ACTIVE");
    assert!(row(&listed, "story")["Networks"]["private"][0].is_string(), "{listed:#}");
    let shown = cli.json(&["server", "show", "story"]);
    assert_eq!(shown["key_name"], "key");
    assert_eq!(shown["properties"]["purpose"], "story");
    assert_eq!(shown["OS-EXT-STS:vm_state"], "active");

    until_console_holds(&cli, story.console);
    cli.text(&["server", "stop", "story"]);
    until_status(&cli, "SHUTOFF");
    let refused = cli.refused(&["server", "stop", "story"]);
    assert!(refused.contains("while it is in vm_state stopped"), "{refused}");
    cli.text(&["server", "start", "story"]);
    until_status(&cli, "ACTIVE");
    cli.text(&["server", "reboot", "--wait", "story"]);
    until_status(&cli, "ACTIVE");
    cli.text(&["server", "reboot", "--hard", "--wait", "story"]);
    until_status(&cli, "ACTIVE");
    let events = cli.json(&["server", "event", "list", "story"]);
    let actions: Vec<_> = events.as_array().expect("a list").iter().map(|event| event["Action"].clone()).collect();
    assert_eq!(json!(actions), json!(["reboot", "reboot", "start", "stop", "create"]));

    cli.text(&["server", "delete", "--wait", "story"]);
    assert_eq!(cli.json(&["server", "list"]), json!([]));
    assert!(cli.refused(&["server", "show", "story"]).contains("story"));
    cli.text(&["keypair", "delete", "key"]);
    assert_eq!(cli.json(&["keypair", "list"]), json!([]));
}

fn images(cli: &OpenStack, clouds_yaml: &Path) {
    let mut file = tempfile::NamedTempFile::new_in(clouds_yaml.parent().expect("a directory")).expect("a file");
    file.write_all(&[7; 70_000]).expect("bytes");
    let path = file.path().to_str().expect("a path");
    let made =
        cli.json(&["image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", path, "mine"]);
    assert_eq!(made["name"], "mine");
    assert_eq!(row(&cli.json(&["image", "list"]), "mine")["Status"], "active");
    let shown = cli.json(&["image", "show", "mine"]);
    assert_eq!(shown["size"], 70_000);
    let saved = format!("{path}.saved");
    cli.text(&["image", "save", "--file", &saved, "mine"]);
    assert_eq!(std::fs::read(&saved).expect("the saved image"), vec![7; 70_000]);
    cli.text(&["image", "delete", "mine"]);
    assert!(cli.refused(&["image", "show", "mine"]).contains("mine"));
}

fn keypairs(cli: &OpenStack, clouds_yaml: &Path) {
    let private = clouds_yaml.with_file_name("story-key");
    let path = private.to_str().expect("a path");
    cli.text(&["keypair", "create", "--private-key", path, "key"]);
    let text = std::fs::read_to_string(&private).expect("the private key");
    assert!(text.contains("PRIVATE KEY"), "{text}");
    assert_eq!(row(&cli.json(&["keypair", "list"]), "key")["Type"], "ssh");
}

fn until_status(cli: &OpenStack, status: &str) {
    until(&format!("status {status}"), || {
        let server = cli.json(&["server", "show", "story"]);
        server["status"] == status && server["OS-EXT-STS:task_state"].is_null()
    });
}

fn until_console_holds(cli: &OpenStack, words: &str) {
    until(&format!("{words:?} on the console"), || cli.text(&["console", "log", "show", "story"]).contains(words));
}

/// Asks again and again: each question starts a client, so there is no need to wait between them.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
    }
}
