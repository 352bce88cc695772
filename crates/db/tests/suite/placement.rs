//! The rows of placement, and claims at the same time. What fits is the placement crate's to decide; here it is one class
//! of one provider.

use std::collections::BTreeSet;

use kilonova_core::time::utcnow;
use kilonova_db::placement::{
    self, Consumer, Inventory, Names, NewProvider, ProjectUsage, ProviderFilter, ResourceProvider, Usage,
};
use kilonova_db::{Db, DbError};
use uuid::Uuid;

use super::support::*;

const CLASS: &str = "VCPU";

async fn provider(db: &Db, name: &str, total: i64) -> Uuid {
    child(db, name, total, None).await.uuid
}

async fn child(db: &Db, name: &str, total: i64, parent: Option<&ResourceProvider>) -> ResourceProvider {
    let uuid = Uuid::new_v4();
    db.retry(|| async {
        let tx = db.begin().await?;
        let new = NewProvider {
            uuid,
            name,
            parent_provider_uuid: parent.map(|parent| parent.uuid),
            root_provider_uuid: parent.map_or(uuid, |parent| parent.root_provider_uuid),
        };
        placement::create_provider(&tx, &new).await?;
        let id = placement::lock_providers(&tx, &[uuid]).await?[0].id;
        placement::put_inventories(&tx, &[inventory(id, total)]).await?;
        placement::raise_generations(&tx, &[id], 1).await?;
        tx.commit().await
    })
    .await
    .unwrap();
    placement::provider(db.read(), uuid).await.unwrap()
}

fn inventory(provider: i64, total: i64) -> Inventory {
    Inventory {
        resource_provider_id: provider,
        resource_class: CLASS.into(),
        total,
        reserved: 0,
        min_unit: 1,
        max_unit: total,
        step_size: 1,
        allocation_ratio: 1.5,
    }
}

/// Takes `amount` of every provider, or nothing; whether it could.
async fn claim(db: &Db, providers: &[Uuid], consumer: Uuid, amount: i64) -> Result<bool, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let wanted: BTreeSet<Uuid> = providers.iter().copied().collect();
        let claimed = placement::lock_claim(&tx, &wanted, &[consumer]).await?;
        let ids: Vec<i64> =
            claimed.providers.iter().filter(|row| wanted.contains(&row.uuid)).map(|row| row.id).collect();
        let totals = placement::inventories(&tx, Some(&ids)).await?;
        let used = placement::usage(&tx, Some(&ids)).await?;
        let mut amounts = Usage::new();
        for inventory in totals {
            let key = (inventory.resource_provider_id, CLASS.to_owned());
            let own = claimed.allocations.iter().filter(|row| row.resource_provider_id == key.0);
            let of_others = used.get(&key).unwrap_or(&0) - own.map(|row| row.used).sum::<i64>();
            if of_others + amount > inventory.total {
                return Ok(false);
            }
            amounts.insert(key, amount);
        }
        let generation = claimed.consumers.first().map_or(0, |consumer| consumer.generation) + 1;
        let consumer = Consumer {
            uuid: consumer,
            project_id: PROJECT.to_owned(),
            user_id: USER.to_owned(),
            consumer_type: Some("INSTANCE".to_owned()),
            generation,
            updated_at: utcnow(),
        };
        placement::replace_allocations(&tx, &[(consumer, amounts)]).await?;
        placement::raise_generations(&tx, &ids, 1).await?;
        tx.commit().await?;
        Ok(true)
    })
    .await
}

async fn used(db: &Db, provider: Uuid) -> i64 {
    let id = placement::provider(db.read(), provider).await.unwrap().id;
    let used = placement::usage(db.read(), Some(&[id])).await.unwrap();
    used.get(&(id, CLASS.to_owned())).copied().unwrap_or(0)
}

#[tokio::test]
async fn providers_inventories_and_allocations_read_back() {
    on_database(async |db| {
        let uuid = provider(db, "node1", 10).await;
        let found = placement::provider(db.read(), uuid).await.unwrap();
        assert_eq!((found.name.as_str(), found.generation, found.traits.as_slice()), ("node1", 1, [].as_slice()));
        assert_eq!(placement::inventories(db.read(), None).await.unwrap(), [inventory(found.id, 10)]);
        let tx = db.begin().await.unwrap();
        let mut changed = found.clone();
        changed.name = "node2".to_owned();
        changed.traits = vec!["CUSTOM_A".to_owned(), "HW_B".to_owned()];
        changed.aggregates = vec![Uuid::from_u128(1), Uuid::from_u128(2)];
        placement::update_provider(&tx, &changed).await.unwrap();
        placement::put_inventories(&tx, &[inventory(found.id, 12)]).await.unwrap();
        tx.commit().await.unwrap();
        let filter = ProviderFilter { name: Some("node2"), ..ProviderFilter::default() };
        let [found] = &placement::providers(db.read(), &filter).await.unwrap()[..] else { panic!("no node2") };
        assert_eq!(*found, changed);
        assert_eq!(placement::trait_sets(db.read()).await.unwrap(), [changed.traits]);
        assert_eq!(placement::inventories(db.read(), Some(&[found.id])).await.unwrap()[0].total, 12);

        let consumer = Uuid::new_v4();
        assert!(claim(db, &[uuid], consumer, 7).await.unwrap());
        assert!(!claim(db, &[uuid], Uuid::new_v4(), 6).await.unwrap());
        assert!(claim(db, &[uuid], consumer, 12).await.unwrap(), "its own is given back first");
        assert_eq!(placement::consumer(db.read(), consumer).await.unwrap().unwrap().generation, 2);
        assert_eq!(placement::allocations_of_consumer(db.read(), consumer).await.unwrap()[0].used, 12);
        assert_eq!(placement::allocations_of_provider(db.read(), found.id).await.unwrap()[0].consumer, consumer);
        let of_project = placement::project_usage(db.read(), PROJECT, Some(USER)).await.unwrap();
        let instances = ProjectUsage { consumer_count: 1, resources: [(CLASS.to_owned(), 12)].into() };
        assert_eq!(of_project, [(Some("INSTANCE".to_owned()), instances)].into());
        let tx = db.begin().await.unwrap();
        assert_eq!(placement::delete_allocations(&tx, consumer).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(used(db, uuid).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_another_provider_has_is_refused() {
    on_database(async |db| {
        provider(db, "node1", 1).await;
        let tx = db.begin().await.unwrap();
        let uuid = Uuid::new_v4();
        let new = NewProvider { uuid, name: "node1", parent_provider_uuid: None, root_provider_uuid: uuid };
        assert_exists(placement::create_provider(&tx, &new).await, "resource provider", "name: node1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_claims_at_once_fill_a_provider_exactly() {
    on_database(async |db| {
        let node = provider(db, "node1", 10).await;
        let claims = (0..30).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { claim(&db, &[node], Uuid::new_v4(), 1).await.unwrap() })
        });
        let granted = join_all(claims).await.into_iter().filter(|granted| *granted).count();
        assert_eq!((granted, used(db, node).await), (10, 10));
        assert_eq!(placement::provider(db.read(), node).await.unwrap().generation, 11, "one for each change");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_on_two_providers_in_any_order_fill_both_exactly() {
    on_database(async |db| {
        let (a, b) = (provider(db, "a", 8).await, provider(db, "b", 8).await);
        let claims = (0..24).map(|number| {
            let db = db.clone();
            let order = if number % 2 == 0 { [a, b] } else { [b, a] };
            tokio::spawn(async move { claim(&db, &order, Uuid::new_v4(), 1).await.unwrap() })
        });
        let granted = join_all(claims).await.into_iter().filter(|granted| *granted).count();
        assert_eq!((granted, used(db, a).await, used(db, b).await), (8, 8, 8));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_one_consumer_at_once_follow_one_another() {
    on_database(async |db| {
        let nodes = [provider(db, "a", 8).await, provider(db, "b", 8).await];
        let consumer = Uuid::new_v4();
        let claims = (0..16).map(|number| {
            let db = db.clone();
            tokio::spawn(async move { claim(&db, &[nodes[number % 2]], consumer, 8).await.unwrap() })
        });
        assert_eq!(join_all(claims).await, [true; 16]);
        assert_eq!(placement::consumer(db.read(), consumer).await.unwrap().unwrap().generation, 16);
        assert_eq!(used(db, nodes[0]).await + used(db, nodes[1]).await, 8, "on one of them");
    })
    .await;
}

#[tokio::test]
async fn a_tree_is_locked_and_moved_whole() {
    on_database(async |db| {
        let root = child(db, "root", 1, None).await;
        let middle = child(db, "middle", 1, Some(&root)).await;
        let leaf = child(db, "leaf", 1, Some(&middle)).await;
        provider(db, "other", 1).await;
        let tx = db.begin().await.unwrap();
        assert_eq!(
            placement::lock_trees(&tx, &[root.uuid]).await.unwrap(),
            [root.clone(), middle.clone(), leaf.clone()]
        );
        placement::set_root(&tx, &[middle.id, leaf.id], middle.uuid).await.unwrap();
        tx.commit().await.unwrap();
        let filter = ProviderFilter { root: Some(middle.uuid), ..ProviderFilter::default() };
        let tree = placement::providers(db.read(), &filter).await.unwrap();
        assert_eq!(tree.iter().map(|row| row.uuid).collect::<Vec<_>>(), [middle.uuid, leaf.uuid]);
    })
    .await;
}

#[tokio::test]
async fn a_fingerprint_differs_after_every_change() {
    on_database(async |db| {
        let mut seen = vec![placement::fingerprint(db.read()).await.unwrap()];
        let mut differs = async |what: &str| {
            let now = placement::fingerprint(db.read()).await.unwrap();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        let node = provider(db, "node1", 10).await;
        differs("made").await;
        let consumer = Uuid::new_v4();
        claim(db, &[node], consumer, 1).await.unwrap();
        differs("claimed").await;
        let tx = db.begin().await.unwrap();
        let claimed = placement::lock_claim(&tx, &BTreeSet::new(), &[consumer]).await.unwrap();
        placement::delete_allocations(&tx, consumer).await.unwrap();
        placement::raise_revisions(&tx, &[claimed.providers[0].id]).await.unwrap();
        tx.commit().await.unwrap();
        differs("released").await;
        let id = claimed.providers[0].id;
        let revision = placement::provider(db.read(), node).await.unwrap().revision;
        assert_eq!(placement::revisions(db.read()).await.unwrap(), [(id, revision)]);
        let tx = db.begin().await.unwrap();
        placement::delete_provider(&tx, id).await.unwrap();
        tx.commit().await.unwrap();
        // There is nothing again, but what is made next has another id.
        provider(db, "node1", 10).await;
        differs("deleted and made").await;
    })
    .await;
}

#[tokio::test]
async fn names_are_added_once_renamed_with_what_has_them_and_taken_away() {
    on_database(async |db| {
        let (classes, traits) = (Names::ResourceClasses, Names::Traits);
        let tx = db.begin().await.unwrap();
        assert_eq!(placement::create_names(&tx, classes, &["CUSTOM_B", "CUSTOM_A"]).await.unwrap(), 2);
        placement::create_names(&tx, classes, &["CUSTOM_A", "CUSTOM_C"]).await.unwrap();
        placement::create_names(&tx, traits, &["CUSTOM_A"]).await.unwrap();
        tx.commit().await.unwrap();
        let names = async |kind| placement::custom_names(db.read(), kind).await.unwrap();
        assert_eq!(names(classes).await, ["CUSTOM_B", "CUSTOM_A", "CUSTOM_C"]);
        let node = child(db, "node1", 10, None).await;
        let tx = db.begin().await.unwrap();
        let gold = Inventory { resource_class: "CUSTOM_A".to_owned(), ..inventory(node.id, 1) };
        placement::put_inventories(&tx, &[gold]).await.unwrap();
        assert_eq!(placement::lock_names(&tx, classes, &["CUSTOM_A", "CUSTOM_X"]).await.unwrap(), ["CUSTOM_A"]);
        placement::rename_resource_class(&tx, "CUSTOM_A", "CUSTOM_E").await.unwrap();
        assert!(placement::has_inventory(&tx, "CUSTOM_E").await.unwrap());
        assert!(!placement::has_inventory(&tx, "CUSTOM_A").await.unwrap());
        placement::rename(&tx, classes, "CUSTOM_C", "CUSTOM_D").await.unwrap();
        placement::delete_name(&tx, classes, "CUSTOM_B").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(names(classes).await, ["CUSTOM_A", "CUSTOM_D"]);
        assert_eq!(names(traits).await, ["CUSTOM_A"]);
    })
    .await;
}
