//! The main job with `python-openstackclient` against `kilonova up --driver fake`.

#[path = "common/client_story.rs"]
mod client_story;
mod common;
#[path = "common/openstack.rs"]
mod openstack;

use std::process::Command;

use client_story::Story;
use common::Kilonova;

#[test]
fn the_openstack_client_does_the_main_job_with_the_fake_driver() {
    let mut cloud = Kilonova::start("fake", &[]);
    client_story::tell(&cloud.clouds_yaml(), &Story { image: "guest", console: "fake" });
    assert_eq!(cloud.terminate(), Some(0), "{}", cloud.log_tail());
}

/// The validator is installed beside the client.
#[test]
fn the_api_describes_itself_in_openapi() {
    let described = Command::new(env!("CARGO_BIN_EXE_kilonova")).arg("openapi").output().unwrap();
    assert!(described.status.success(), "{}", String::from_utf8_lossy(&described.stderr));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, described.stdout).unwrap();
    let python = openstack::program().with_file_name("python");
    let checked = Command::new(python).args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&file).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
