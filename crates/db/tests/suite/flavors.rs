//! Flavors: kept whole, unique, visible to whom they should be.

use std::collections::BTreeMap;

use kilonova_db::flavors::{self, FlavorQuery};
use kilonova_db::{Db, DbError};
use kilonova_objects::Flavor;

use super::support::*;

fn named(flavorid: &str, name: &str) -> Flavor {
    Flavor { flavorid: flavorid.into(), name: Some(name.into()), ..flavor() }
}

async fn ids(db: &Db, query: FlavorQuery) -> Vec<String> {
    flavors::list(db, &query).await.unwrap().into_iter().map(|flavor| flavor.flavorid).collect()
}

#[tokio::test]
async fn a_flavor_reads_back_whole() {
    on_database(async |db| {
        let given = Flavor { swap: 512, vcpu_weight: Some(3), description: Some("d".into()), ..named("1", "tiny") };
        let created = flavors::create(db, &given, &[]).await.unwrap();
        let expected = Flavor { id: created.id, created_at: created.created_at, ..given };
        assert!(created.id > 0 && created.created_at.is_some());
        assert_eq!(created, expected);
        assert_eq!(flavors::get(db, "1", None).await.unwrap(), created);
        assert_eq!(flavors::list(db, &FlavorQuery::default()).await.unwrap(), [created]);
        assert_not_found(flavors::get(db, "2", None).await, "flavor", "2");
    })
    .await;
}

#[tokio::test]
async fn id_and_name_of_a_flavor_are_unique() {
    on_database(async |db| {
        flavors::create(db, &named("1", "tiny"), &[]).await.unwrap();
        assert_exists(flavors::create(db, &named("1", "other"), &["p".into()]).await, "flavor", "1");
        assert_exists(flavors::create(db, &named("2", "tiny"), &[]).await, "flavor", "tiny");
        assert_eq!(ids(db, FlavorQuery::default()).await, ["1"]);
        flavors::delete(db, "1").await.unwrap();
        flavors::create(db, &Flavor { extra_specs: BTreeMap::new(), ..named("1", "tiny") }, &[]).await.unwrap();
        assert_eq!(flavors::get(db, "1", None).await.unwrap().extra_specs, BTreeMap::new());
        assert_eq!(flavors::access(db, "1").await.unwrap(), Vec::<String>::new());
        assert_not_found(flavors::delete(db, "9").await, "flavor", "9");
    })
    .await;
}

#[tokio::test]
async fn private_flavors_are_seen_by_those_with_access() {
    on_database(async |db| {
        flavors::create(db, &named("1", "public"), &[]).await.unwrap();
        let private = Flavor { is_public: false, ..named("2", "private") };
        flavors::create(db, &private, &["mine".into()]).await.unwrap();
        let seen_by = |project: &str| FlavorQuery { visible_to: Some(project.into()), ..FlavorQuery::default() };
        assert_eq!(ids(db, seen_by("mine")).await, ["1", "2"]);
        assert_eq!(ids(db, seen_by("other")).await, ["1"]);
        assert_not_found(flavors::get(db, "2", Some("other")).await, "flavor", "2");
        assert_eq!(flavors::get(db, "2", Some("mine")).await.unwrap().flavorid, "2");
        let only = |is_public| FlavorQuery { is_public: Some(is_public), ..FlavorQuery::default() };
        assert_eq!(ids(db, only(true)).await, ["1"]);
        assert_eq!(ids(db, only(false)).await, ["2"]);

        flavors::add_access(db, "2", "other").await.unwrap();
        assert_exists(flavors::add_access(db, "2", "other").await, "flavor access", "other");
        assert_eq!(flavors::access(db, "2").await.unwrap(), ["mine", "other"]);
        flavors::remove_access(db, "2", "mine").await.unwrap();
        assert_not_found(flavors::remove_access(db, "2", "mine").await, "flavor access", "mine");
        assert_eq!(ids(db, seen_by("mine")).await, ["1"]);
        assert_not_found(flavors::add_access(db, "9", "mine").await, "flavor", "9");
        assert_not_found(flavors::access(db, "9").await, "flavor", "9");
    })
    .await;
}

#[tokio::test]
async fn flavors_are_filtered_sorted_and_paged() {
    on_database(async |db| {
        for (id, ram, disk, disabled) in
            [("1", 512, 1, false), ("2", 2048, 20, false), ("3", 1024, 20, false), ("4", 4096, 40, true)]
        {
            let flavor = Flavor { memory_mb: ram, root_gb: disk, disabled, ..named(id, &format!("f{id}")) };
            flavors::create(db, &flavor, &[]).await.unwrap();
        }
        let all = FlavorQuery::default();
        assert_eq!(ids(db, all.clone()).await, ["1", "2", "3"]);
        assert_eq!(ids(db, FlavorQuery { include_disabled: true, ..all.clone() }).await, ["1", "2", "3", "4"]);
        assert_eq!(ids(db, FlavorQuery { min_ram: Some(1024), ..all.clone() }).await, ["2", "3"]);
        assert_eq!(ids(db, FlavorQuery { min_disk: Some(21), include_disabled: true, ..all.clone() }).await, ["4"]);
        let by_ram = FlavorQuery { sort_key: "memory_mb".into(), sort_desc: true, ..all.clone() };
        assert_eq!(ids(db, by_ram.clone()).await, ["2", "3", "1"]);
        assert_eq!(ids(db, FlavorQuery { marker: Some("2".into()), limit: Some(1), ..by_ram }).await, ["3"]);
        let equal = FlavorQuery { sort_key: "vcpu_weight".into(), ..all.clone() };
        assert_eq!(ids(db, FlavorQuery { marker: Some("1".into()), ..equal }).await, ["2", "3"], "all null");
        let lost = FlavorQuery { marker: Some("9".into()), ..all.clone() };
        assert_not_found(flavors::list(db, &lost).await, "marker", "9");
        let refused = flavors::list(db, &FlavorQuery { sort_key: "colour".into(), ..all }).await;
        assert!(matches!(refused, Err(DbError::Corrupt { resource: "sort key", .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn extra_specs_and_description_change() {
    on_database(async |db| {
        flavors::create(db, &named("1", "tiny"), &[]).await.unwrap();
        let specs = BTreeMap::from([("hw:cpu_policy".into(), "dedicated".into()), ("b".into(), "2".into())]);
        flavors::set_extra_specs(db, "1", &specs).await.unwrap();
        assert_eq!(flavors::get(db, "1", None).await.unwrap().extra_specs, specs);
        flavors::delete_extra_spec(db, "1", "b").await.unwrap();
        assert_not_found(flavors::delete_extra_spec(db, "1", "b").await, "extra spec", "b");
        assert_eq!(flavors::get(db, "1", None).await.unwrap().extra_specs.len(), 1);
        let updated = flavors::update_description(db, "1", Some("small")).await.unwrap();
        assert_eq!(updated.description.as_deref(), Some("small"));
        assert!(updated.updated_at.is_some());
        assert_eq!(flavors::update_description(db, "1", None).await.unwrap().description, None);
        assert_not_found(flavors::update_description(db, "9", None).await, "flavor", "9");
        assert_not_found(flavors::set_extra_specs(db, "9", &specs).await, "flavor", "9");
    })
    .await;
}
