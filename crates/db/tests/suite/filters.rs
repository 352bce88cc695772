//! Every filter of the list, alone, against servers that differ in it.

use kilonova_db::instances::{self, Deleted, InstanceQuery};
use kilonova_db::{Db, DbError};
use kilonova_objects::state::states_of_status;
use kilonova_objects::{Instance, InstanceInfoCache, PowerState, Tag, TaskState, VmState};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

async fn names(db: &Db, query: &InstanceQuery) -> Vec<String> {
    let query = InstanceQuery { sort: vec![("display_name".into(), false)], ..query.clone() };
    let listed = instances::list(db, &query).await.unwrap();
    let names: Vec<String> = listed.iter().map(|found| found.display_name.clone().unwrap_or_default()).collect();
    let brief = instances::list_brief(db, &query).await.unwrap();
    let expected: Vec<_> =
        listed.iter().map(|found| (found.uuid, found.display_name.clone().unwrap_or_default())).collect();
    assert_eq!(brief, expected, "the brief list is of the same servers");
    names
}

fn network_info(address: &str, version: u8) -> InstanceInfoCache {
    let text = json!([{
        "id": Uuid::nil(), "address": "fa:16:3e:00:00:01", "type": null, "devname": null, "ovs_interfaceid": null, "vnic_type": null,
        "network": {"id": Uuid::nil(), "bridge": null, "label": "net", "subnets": [{
            "cidr": "c", "gateway": null, "version": version, "ips": [{"address": address, "type": "fixed", "version": version}],
        }]},
    }]);
    InstanceInfoCache { network_info: Some(text.to_string()), ..InstanceInfoCache::default() }
}

fn tags(tags: &[&str]) -> Option<kilonova_objects::TagList> {
    let tag = |tag: &&str| Tag { tag: (*tag).into(), ..Tag::default() };
    Some(tags.iter().map(tag).collect::<Vec<_>>().into())
}

/// `alpha` and `beta` differ in everything, `plain` has nothing.
async fn three(db: &Db) -> Vec<Instance> {
    let text = |text: &str| Some(text.to_owned());
    let alpha = Instance {
        display_description: text("100%_sure"),
        node: text("n1"),
        vm_state: VmState::Active,
        task_state: Some(TaskState::Rebooting),
        power_state: PowerState::Running,
        info_cache: Some(network_info("10.0.0.5", 4)),
        tags: tags(&["red", "big"]),
        ..full_instance()
    };
    let beta = Instance {
        host: text("node2"),
        node: text("n2"),
        vm_state: VmState::Active,
        info_cache: Some(network_info("2001:db8::5", 6)),
        tags: tags(&["red"]),
        config_drive: Some(String::new()),
        system_metadata: [("image_os".to_owned(), text("alpine"))].into(),
        metadata: [("env".to_owned(), "test".to_owned())].into(),
        user_id: text("bob"),
        project_id: text("other"),
        terminated_at: Some(at(5)),
        ..instance("beta")
    };
    create(db, vec![Instance { display_name: text("alpha"), ..alpha }, beta, instance("plain")]).await
}

#[tokio::test]
async fn every_filter_selects_what_it_says() {
    on_database(async |db| {
        let made = three(db).await;
        let text = |text: &str| Some(text.to_owned());
        let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let list = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let all = InstanceQuery::default();
        let cases: Vec<(&str, InstanceQuery, &[&str])> = vec![
            ("nothing", all.clone(), &["alpha", "beta", "plain"]),
            ("project", InstanceQuery { project_id: text("other"), ..all.clone() }, &["beta"]),
            ("user", InstanceQuery { user_id: text("bob"), ..all.clone() }, &["beta"]),
            ("host", InstanceQuery { host: text("node1"), ..all.clone() }, &["alpha"]),
            ("node", InstanceQuery { node: text("n2"), ..all.clone() }, &["beta"]),
            (
                "uuids",
                InstanceQuery { uuids: Some(vec![made[2].uuid, made[0].uuid, Uuid::nil()]), ..all.clone() },
                &["alpha", "plain"],
            ),
            ("no uuids", InstanceQuery { uuids: Some(vec![]), ..all.clone() }, &[]),
            ("name", InstanceQuery { name: text("^a|n$"), ..all.clone() }, &["alpha", "plain"]),
            ("plain name", InstanceQuery { name: text("et"), ..all.clone() }, &["beta"]),
            ("case of name", InstanceQuery { name: text("ALPHA"), ..all.clone() }, &[]),
            ("hostname", InstanceQuery { hostname: text("^web"), ..all.clone() }, &["alpha"]),
            ("description", InstanceQuery { description: text("%_"), ..all.clone() }, &["alpha"]),
            ("wildcards mean nothing", InstanceQuery { description: text("1%s"), ..all.clone() }, &[]),
            ("image", InstanceQuery { image_ref: made[0].image_ref.clone(), ..all.clone() }, &["alpha"]),
            ("flavor", InstanceQuery { flavorid: text("2"), ..all.clone() }, &["alpha", "beta", "plain"]),
            ("other flavor", InstanceQuery { flavorid: text("1"), ..all.clone() }, &[]),
            ("reservation", InstanceQuery { reservation_id: text("r-12345678"), ..all.clone() }, &["alpha"]),
            ("zone", InstanceQuery { availability_zone: text("nova"), ..all.clone() }, &["alpha"]),
            ("key", InstanceQuery { key_name: text("key"), ..all.clone() }, &["alpha"]),
            ("ip", InstanceQuery { ip: text(r"10\.0"), ..all.clone() }, &["alpha"]),
            ("ip from its beginning", InstanceQuery { ip: text(r"0\.5"), ..all.clone() }, &[]),
            ("ip6", InstanceQuery { ip6: text("2001"), ..all.clone() }, &["beta"]),
            ("either ip", InstanceQuery { ip: text("10"), ip6: text("2001"), ..all.clone() }, &["alpha", "beta"]),
            ("status", InstanceQuery { states: Some(states_of_status("REBOOT")), ..all.clone() }, &["alpha"]),
            ("other status", InstanceQuery { states: Some(states_of_status("ACTIVE")), ..all.clone() }, &["beta"]),
            (
                "two states",
                InstanceQuery {
                    states: Some([states_of_status("BUILD"), states_of_status("REBOOT")].concat()),
                    ..all.clone()
                },
                &["alpha", "plain"],
            ),
            ("no status", InstanceQuery { states: Some(vec![]), ..all.clone() }, &[]),
            ("vm_state", InstanceQuery { vm_state: Some(VmState::Active), ..all.clone() }, &["alpha", "beta"]),
            ("task_state", InstanceQuery { task_state: Some(TaskState::Rebooting), ..all.clone() }, &["alpha"]),
            ("power_state", InstanceQuery { power_state: Some(PowerState::Running), ..all.clone() }, &["alpha"]),
            ("locked", InstanceQuery { locked: Some(true), ..all.clone() }, &["alpha"]),
            ("not locked", InstanceQuery { locked: Some(false), ..all.clone() }, &["beta", "plain"]),
            ("metadata", InstanceQuery { metadata: pairs("env", "test"), ..all.clone() }, &["beta"]),
            (
                "all metadata",
                InstanceQuery { metadata: [pairs("env", "prod"), pairs("päth", "")].concat(), ..all.clone() },
                &["alpha"],
            ),
            (
                "metadata of two",
                InstanceQuery { metadata: [pairs("env", "prod"), pairs("env", "test")].concat(), ..all.clone() },
                &[],
            ),
            (
                "system_metadata",
                InstanceQuery { system_metadata: pairs("image_os", "alpine"), ..all.clone() },
                &["beta"],
            ),
            ("tags", InstanceQuery { tags: list(&["red", "big"]), ..all.clone() }, &["alpha"]),
            ("tags_any", InstanceQuery { tags_any: list(&["red", "big"]), ..all.clone() }, &["alpha", "beta"]),
            ("not_tags", InstanceQuery { not_tags: list(&["red", "big"]), ..all.clone() }, &["beta", "plain"]),
            ("not_tags_any", InstanceQuery { not_tags_any: list(&["red", "big"]), ..all.clone() }, &["plain"]),
            ("config drive", InstanceQuery { config_drive: Some(true), ..all.clone() }, &["alpha"]),
            ("no config drive", InstanceQuery { config_drive: Some(false), ..all.clone() }, &["beta", "plain"]),
            ("launch_index", InstanceQuery { launch_index: Some(3), ..all.clone() }, &["alpha"]),
            ("root device", InstanceQuery { root_device_name: text("/dev/vda"), ..all.clone() }, &["alpha"]),
            ("kernel", InstanceQuery { kernel_id: text("kernel"), ..all.clone() }, &["alpha"]),
            ("ramdisk", InstanceQuery { ramdisk_id: text("ramdisk"), ..all.clone() }, &["alpha"]),
            ("progress", InstanceQuery { progress: Some(50), ..all.clone() }, &["alpha"]),
            ("terminated_at", InstanceQuery { terminated_at: Some(at(5)), ..all.clone() }, &["beta"]),
            ("launched_at", InstanceQuery { launched_at: Some(at(1_000_001)), ..all.clone() }, &["alpha"]),
            (
                "created_at",
                InstanceQuery { created_at: made[1].created_at, uuids: Some(vec![made[1].uuid]), ..all.clone() },
                &["beta"],
            ),
        ];
        for (what, query, expected) in cases {
            assert_eq!(names(db, &query).await, expected, "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn changes_are_dated_by_the_last_update_or_the_creation() {
    on_database(async |db| {
        let made = three(db).await;
        let saved = save(db, made[0].uuid, json!({"host": "elsewhere"})).await.unwrap();
        let since = InstanceQuery { changes_since: saved.updated_at, ..InstanceQuery::default() };
        assert_eq!(names(db, &since).await, ["alpha"]);
        let before = InstanceQuery { changes_before: made[2].created_at, ..InstanceQuery::default() };
        assert_eq!(names(db, &before).await, ["beta", "plain"]);
        let gone = instances::destroy(db, made[1].uuid).await.unwrap();
        let since = InstanceQuery { changes_since: gone.updated_at, deleted: Deleted::Yes, ..InstanceQuery::default() };
        assert_eq!(names(db, &since).await, ["beta"]);
    })
    .await;
}

#[tokio::test]
async fn hidden_servers_are_listed_to_nobody() {
    on_database(async |db| {
        create_one(db, Instance { hidden: true, ..instance("hidden") }).await;
        assert_eq!(names(db, &InstanceQuery::default()).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_set() {
    on_database(async |db| {
        use kilonova_objects::wire::VersionedObject as _;
        create_one(db, full_instance()).await;
        let with = instances::Expand { metadata: false, faults: false };
        let listed = instances::list(db, &InstanceQuery { with, ..InstanceQuery::default() }).await.unwrap();
        let data = listed[0].data();
        assert!(!data.contains_key("metadata") && !data.contains_key("fault") && data.contains_key("flavor"));
    })
    .await;
}

#[tokio::test]
async fn a_broken_regular_expression_is_an_error() {
    on_database(async |db| {
        let query = InstanceQuery { name: Some("(".into()), ..InstanceQuery::default() };
        let refused = instances::list(db, &query).await;
        assert!(matches!(refused, Err(DbError::Corrupt { resource: "regular expression", .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn the_servers_of_a_host_come_whole_and_without_the_deleted_ones() {
    on_database(async |db| {
        let made = three(db).await;
        let gone = create_one(db, Instance { host: Some("node1".into()), ..instance("gone") }).await;
        instances::destroy(db, gone.uuid).await.unwrap();
        assert_eq!(instances::by_host(db, "node1").await.unwrap(), [made[0].clone()]);
        assert_eq!(instances::by_host(db, "nowhere").await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn soft_deleted_servers_pass_for_deleted_where_that_is_asked() {
    on_database(async |db| {
        create_one(db, Instance { vm_state: VmState::Active, ..instance("there") }).await;
        create_one(db, Instance { vm_state: VmState::SoftDeleted, ..instance("softly") }).await;
        let gone = create_one(db, instance("gone")).await;
        instances::destroy(db, gone.uuid).await.unwrap();
        for (deleted, soft_deleted_is_deleted, expected) in [
            (Deleted::No, false, &["softly", "there"][..]),
            (Deleted::No, true, &["there"]),
            (Deleted::Only, false, &["gone"]),
            (Deleted::Only, true, &["gone", "softly"]),
            (Deleted::Yes, true, &["gone", "softly", "there"]),
        ] {
            let query = InstanceQuery { deleted, soft_deleted_is_deleted, ..InstanceQuery::default() };
            assert_eq!(names(db, &query).await, expected, "{deleted:?}, {soft_deleted_is_deleted}");
        }
    })
    .await;
}
