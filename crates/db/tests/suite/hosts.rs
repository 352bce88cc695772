//! Services and hypervisors.

use std::slice::from_ref;

use kilonova_core::time::utcnow;
use kilonova_db::{compute_nodes, services};
use kilonova_objects::{ComputeNode, Service};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

fn service(host: &str, binary: &str, version: i64) -> Service {
    Service {
        host: Some(host.into()),
        binary: Some(binary.into()),
        topic: Some("compute".into()),
        version,
        ..Service::default()
    }
}

#[tokio::test]
async fn a_service_reads_back_whole_and_is_one_per_host_and_binary() {
    on_database(async |db| {
        let given = service("n1", "nova-compute", 74);
        let created = services::create(db, &given).await.unwrap();
        assert!(created.id > 0 && created.uuid.is_some() && created.created_at.is_some());
        assert_eq!(
            created,
            Service { id: created.id, uuid: created.uuid, created_at: created.created_at, ..given.clone() }
        );
        assert_exists(services::create(db, &given).await, "service", "nova-compute on n1");
        assert_eq!(services::get(db, created.uuid.unwrap()).await.unwrap(), created);
        assert_eq!(services::get_by_host_and_binary(db, "n1", "nova-compute").await.unwrap(), Some(created.clone()));
        assert_eq!(services::get_by_host_and_binary(db, "n2", "nova-compute").await.unwrap(), None);
        let conductor = services::create(db, &service("n1", "nova-conductor", 70)).await.unwrap();
        assert_eq!(services::list(db, None, None).await.unwrap(), [created.clone(), conductor.clone()]);
        assert_eq!(services::list(db, Some("nova-conductor"), Some("n1")).await.unwrap(), [conductor]);
        services::delete(db, created.uuid.unwrap()).await.unwrap();
        let id = created.uuid.unwrap().to_string();
        assert_not_found(services::delete(db, created.uuid.unwrap()).await, "service", &id);
        assert_not_found(services::get(db, created.uuid.unwrap()).await, "service", &id);
        services::create(db, &given).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_says_that_a_service_was_seen_now() {
    on_database(async |db| {
        let created = services::create(db, &service("n1", "nova-compute", 74)).await.unwrap();
        let disabled = services::save(db, created.id, &fields(json!({"disabled": true, "disabled_reason": "broken"})))
            .await
            .unwrap();
        let expected = Service {
            disabled: true,
            disabled_reason: Some("broken".into()),
            updated_at: disabled.updated_at,
            ..created.clone()
        };
        assert_eq!(disabled, expected, "no heartbeat");
        let before = utcnow();
        let seen = services::save(db, created.id, &fields(json!({"report_count": 5}))).await.unwrap();
        assert!(seen.last_seen_up.unwrap() >= before);
        assert_eq!(
            seen,
            Service { report_count: 5, last_seen_up: seen.last_seen_up, updated_at: seen.updated_at, ..expected }
        );
        assert_eq!(services::get(db, created.uuid.unwrap()).await.unwrap(), seen);
        assert_corrupt(services::save(db, created.id, &fields(json!({"id": 9}))).await, "id");
        assert_corrupt(services::save(db, created.id, &fields(json!({"version": "new"}))).await, "version");
        assert_not_found(services::save(db, 99, &fields(json!({}))).await, "service", "99");
    })
    .await;
}

#[tokio::test]
async fn the_minimum_version_leaves_out_what_is_forced_down() {
    on_database(async |db| {
        assert_eq!(services::minimum_version(db, "nova-compute").await.unwrap(), 0);
        for (host, version) in [("n1", 74), ("n2", 66), ("n3", 70)] {
            services::create(db, &service(host, "nova-compute", version)).await.unwrap();
        }
        assert_eq!(services::minimum_version(db, "nova-compute").await.unwrap(), 66);
        let oldest = services::get_by_host_and_binary(db, "n2", "nova-compute").await.unwrap().unwrap();
        services::save(db, oldest.id, &fields(json!({"forced_down": true}))).await.unwrap();
        assert_eq!(services::minimum_version(db, "nova-compute").await.unwrap(), 70);
    })
    .await;
}

fn node(host: &str, hostname: &str) -> ComputeNode {
    ComputeNode {
        uuid: Uuid::new_v4(),
        host: Some(host.into()),
        hypervisor_hostname: Some(hostname.into()),
        vcpus: 8,
        cpu_allocation_ratio: 16.0,
        hypervisor_type: "QEMU".into(),
        supported_hv_specs: vec![json!(["x86_64", "qemu", "hvm"])],
        stats: Some([("num_instances".to_owned(), Some("0".to_owned()))].into()),
        ..ComputeNode::default()
    }
}

#[tokio::test]
async fn a_hypervisor_reads_back_whole_and_is_unique() {
    on_database(async |db| {
        let given = node("n1", "n1.example");
        let created = compute_nodes::create(db, &given).await.unwrap();
        assert!(created.id > 0 && created.created_at.is_some());
        assert_same(&created, &ComputeNode { id: created.id, created_at: created.created_at, ..given.clone() });
        assert_eq!(compute_nodes::get(db, given.uuid).await.unwrap(), created);
        assert_eq!(compute_nodes::get_by_id(db, created.id).await.unwrap(), created);
        assert_exists(compute_nodes::create(db, &node("n1", "n1.example")).await, "compute node", "n1/n1.example");
        assert_not_found(compute_nodes::get_by_id(db, 99).await, "compute node", "99");
        let other = compute_nodes::create(db, &node("n2", "n2_example")).await.unwrap();
        assert_eq!(compute_nodes::list(db).await.unwrap(), [created.clone(), other.clone()]);
        assert_eq!(compute_nodes::list_by_host(db, "n2").await.unwrap(), from_ref(&other));
        assert_eq!(compute_nodes::search(db, "exam").await.unwrap(), [created.clone(), other.clone()]);
        assert_eq!(compute_nodes::search(db, "2_").await.unwrap(), [other], "an underscore is one");
        compute_nodes::delete(db, given.uuid).await.unwrap();
        assert_not_found(compute_nodes::delete(db, given.uuid).await, "compute node", &given.uuid.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_hypervisor_is_saved_field_by_field() {
    on_database(async |db| {
        let created = compute_nodes::create(db, &node("n1", "n1")).await.unwrap();
        let changes = fields(json!({"vcpus_used": 3, "free_ram_mb": null, "host": "renamed", "stats": {"io": "1"}}));
        let saved = compute_nodes::save(db, created.uuid, &changes).await.unwrap();
        let expected = ComputeNode {
            vcpus_used: 3,
            host: Some("renamed".into()),
            stats: Some([("io".to_owned(), Some("1".to_owned()))].into()),
            updated_at: saved.updated_at,
            ..created.clone()
        };
        assert!(saved.updated_at.is_some());
        assert_eq!(saved.created_at, created.created_at, "to the microsecond");
        assert_same(&saved, &expected);
        assert_eq!(compute_nodes::list_by_host(db, "renamed").await.unwrap(), from_ref(&saved));
        for (changes, word) in
            [(json!({"colour": 1}), "colour"), (json!({"id": 3}), "id"), (json!({"vcpus": "x"}), "vcpus")]
        {
            assert_corrupt(compute_nodes::save(db, created.uuid, &fields(changes)).await, word);
        }
        assert_eq!(compute_nodes::get(db, created.uuid).await.unwrap(), saved);
        let nil = Uuid::nil();
        assert_not_found(compute_nodes::save(db, nil, &fields(json!({}))).await, "compute node", &nil.to_string());
    })
    .await;
}
