//! What is done to the host itself.

use std::collections::BTreeMap;

use kilonova_rpcapi::compute::{
    CacheImages, HostMaintenanceMode, HostPowerAction, SetHostEnabled, VolumeSnapshotCreate,
};
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::json;
use uuid::Uuid;

use crate::support::{HOST, World, context};

#[tokio::test]
async fn a_host_is_enabled_and_disabled_in_placement() {
    let world = World::serving(|_| {}).await;
    let api = world.compute_api();
    let is_marked = || {
        let providers = world.placement.providers.lock().unwrap();
        providers[&world.provider()].traits.iter().any(|name| name == "COMPUTE_STATUS_DISABLED")
    };
    for (enabled, word) in [(false, "disabled"), (false, "disabled"), (true, "enabled")] {
        let said = api.call(&context(), HOST, SetHostEnabled { enabled }).await.unwrap();
        assert_eq!((said.as_str(), is_marked()), (word, !enabled));
    }
}

#[tokio::test]
async fn power_and_maintenance_are_the_drivers_and_what_it_cannot_do_is_said() {
    let world = World::serving(|_| {}).await;
    let api = world.compute_api();
    let action = HostPowerAction { action: "reboot".to_owned() };
    assert_eq!(api.call(&context(), HOST, action).await.unwrap(), "reboot");
    for (mode, word) in [(true, "on_maintenance"), (false, "off_maintenance")] {
        let method = HostMaintenanceMode { host: HOST.to_owned(), mode };
        assert_eq!(api.call(&context(), HOST, method).await.unwrap(), word);
    }
    let instance = world.active().await;
    let snapshot = VolumeSnapshotCreate { instance, volume_id: "v".to_owned(), create_info: json!({}) };
    let error = api.call(&context(), HOST, snapshot).await.unwrap_err();
    assert!(error.is("NotImplementedError"), "{error}");
}

#[tokio::test]
async fn images_are_cached_once_and_a_failure_with_one_is_none_with_the_others() {
    let world = World::serving(|_| {}).await;
    let api = world.compute_api();
    let lost = Uuid::new_v4();
    let image_ids = vec![world.disk.id.to_string(), lost.to_string()];
    let results = |disk: &str| {
        let results = [(world.disk.id, disk), (lost, "error")];
        BTreeMap::from(results.map(|(id, result)| (id.to_string(), result.to_owned())))
    };
    for expected in ["cached", "existing"] {
        let method = CacheImages { image_ids: image_ids.clone() };
        assert_eq!(api.long_call(&context(), HOST, method).await.unwrap(), results(expected));
    }
    for (error, word) in [
        (DriverError::NotSupported("caching an image"), "unsupported"),
        (DriverError::Host("no space left".to_owned()), "error"),
    ] {
        world.driver.fake.fail_next(FakeOperation::CacheImage, error);
        let method = CacheImages { image_ids: image_ids.clone() };
        assert_eq!(api.call(&context(), HOST, method).await.unwrap(), results(word));
    }
}
