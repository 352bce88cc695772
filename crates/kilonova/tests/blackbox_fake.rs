//! The main job with `python-openstackclient` against `kilonova up --driver fake`.

#[path = "common/client_story.rs"]
mod client_story;
mod common;
#[path = "common/openstack.rs"]
mod openstack;

use client_story::Story;
use common::Kilonova;

#[test]
fn the_openstack_client_does_the_main_job_with_the_fake_driver() {
    let mut cloud = Kilonova::start("fake", &[]);
    client_story::tell(&cloud.clouds_yaml(), &Story { image: "guest", console: "fake" });
    assert_eq!(cloud.terminate(), Some(0), "{}", cloud.log_tail());
}
