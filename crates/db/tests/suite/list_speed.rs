//! How long a list of 1,000 whole servers takes. By hand: `cargo test --release -p kilonova-db --test compute list_speed
//! -- --ignored --nocapture`.

use std::time::Instant;

use kilonova_db::instances::{self, InstanceQuery};
use kilonova_objects::{Instance, InstanceInfoCache};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

fn server(number: usize) -> Instance {
    let vif = json!([{
        "id": Uuid::new_v4(), "address": "fa:16:3e:00:00:01", "type": "user", "devname": "tap0", "ovs_interfaceid": null, "vnic_type": "normal",
        "network": {"id": Uuid::new_v4(), "bridge": null, "label": "private", "subnets": [{
            "cidr": "10.0.0.0/24", "gateway": {"address": "10.0.0.1", "type": "gateway", "version": 4}, "version": 4,
            "ips": [{"address": format!("10.0.0.{}", number % 250), "type": "fixed", "version": 4}],
        }]},
    }]);
    let full = full_instance();
    Instance {
        user_data: None,
        info_cache: Some(InstanceInfoCache {
            instance_uuid: full.uuid,
            network_info: Some(vif.to_string()),
            ..InstanceInfoCache::default()
        }),
        system_metadata: (0..10).map(|n| (format!("image_property_{n}"), Some("value".to_owned()))).collect(),
        numa_topology: None,
        old_flavor: None,
        trusted_certs: None,
        ..full
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_thousand_whole_servers_are_listed_in_twelve_milliseconds() {
    on_database(async |db| {
        for hundred in 0..10 {
            create(db, (0..100).map(|n| server(hundred * 100 + n)).collect()).await;
        }
        let query = InstanceQuery { project_id: Some(PROJECT.into()), limit: Some(1_000), ..InstanceQuery::default() };
        let mut lists: Vec<_> = Vec::new();
        for _ in 0..30 {
            let start = Instant::now();
            let listed = instances::list(db, &query).await.unwrap();
            lists.push(start.elapsed());
            assert_eq!(listed.len(), 1_000);
        }
        lists.sort();
        println!("list of 1,000: least {:?}, median {:?}, most {:?}", lists[0], lists[15], lists[29]);
        let mut times: Vec<_> = Vec::new();
        for n in 0..100 {
            let start = Instant::now();
            create_one(db, server(n)).await;
            times.push(start.elapsed());
        }
        times.sort();
        println!("create of 1: least {:?}, median {:?}, most {:?}", times[0], times[50], times[99]);
        let start = Instant::now();
        create(db, (0..100).map(server).collect()).await;
        println!("create of 100: {:?}", start.elapsed());
        assert!(lists[15].as_millis() < 12, "{:?}", lists[15]);
    })
    .await;
}
