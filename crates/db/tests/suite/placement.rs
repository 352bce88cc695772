//! The rows of placement, and claims at the same time. What fits is the placement crate's to decide; here it is one class
//! of one provider.

use kilonova_core::time::utcnow;
use kilonova_db::placement::{self, Consumer, Inventory, ProviderFilter, Usage};
use kilonova_db::{Db, DbError};
use uuid::Uuid;

use super::support::*;

const CLASS: &str = "VCPU";

async fn provider(db: &Db, name: &str, total: i64) -> Uuid {
    let uuid = Uuid::new_v4();
    db.retry(|| async {
        let tx = db.begin().await?;
        placement::create_provider(&tx, uuid, name).await?;
        let id = placement::lock_providers(&tx, &[uuid]).await?[0].id;
        placement::put_inventory(&tx, &inventory(id, total)).await?;
        tx.commit().await
    })
    .await
    .unwrap();
    uuid
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
        let locked = placement::lock_providers(&tx, providers).await?;
        let before = placement::lock_consumer(&tx, consumer).await?;
        let ids: Vec<i64> = locked.iter().map(|provider| provider.id).collect();
        let totals = placement::inventories(&tx, Some(&ids)).await?;
        let used = placement::usage(&tx, Some(&ids), Some(consumer)).await?;
        let mut amounts = Usage::new();
        for inventory in totals {
            let key = (inventory.resource_provider_id, CLASS.to_owned());
            if used.get(&key).unwrap_or(&0) + amount > inventory.total {
                return Ok(false);
            }
            amounts.insert(key, amount);
        }
        let generation = before.map_or(0, |consumer| consumer.generation) + 1;
        let (project_id, user_id) = (PROJECT.to_owned(), USER.to_owned());
        let consumer = Consumer { uuid: consumer, project_id, user_id, generation, updated_at: utcnow() };
        placement::replace_allocations(&tx, &consumer, &amounts).await?;
        tx.commit().await?;
        Ok(true)
    })
    .await
}

async fn used(db: &Db, provider: Uuid) -> i64 {
    let id = placement::provider(db.read(), provider).await.unwrap().id;
    let used = placement::usage(db.read(), Some(&[id]), None).await.unwrap();
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
        let traits = ["CUSTOM_A".to_owned(), "HW_B".to_owned()];
        placement::update_provider(&tx, found.id, "node2", &traits).await.unwrap();
        placement::put_inventory(&tx, &inventory(found.id, 12)).await.unwrap();
        tx.commit().await.unwrap();
        let filter = ProviderFilter { uuid: None, name: Some("node2") };
        let [found] = &placement::providers(db.read(), &filter).await.unwrap()[..] else { panic!("no node2") };
        assert_eq!(found.traits, traits);
        assert_eq!(placement::inventories(db.read(), Some(&[found.id])).await.unwrap()[0].total, 12);

        let consumer = Uuid::new_v4();
        assert!(claim(db, &[uuid], consumer, 7).await.unwrap());
        assert!(!claim(db, &[uuid], Uuid::new_v4(), 6).await.unwrap());
        assert!(claim(db, &[uuid], consumer, 12).await.unwrap(), "its own is given back first");
        assert_eq!(placement::consumer(db.read(), consumer).await.unwrap().unwrap().generation, 2);
        assert_eq!(placement::allocations_of_consumer(db.read(), consumer).await.unwrap()[0].used, 12);
        assert_eq!(placement::allocations_of_provider(db.read(), found.id).await.unwrap()[0].consumer, consumer);
        let of_project = placement::project_usage(db.read(), PROJECT, Some(USER)).await.unwrap();
        assert_eq!(of_project, [(CLASS.to_owned(), 12)].into());
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
        assert_exists(placement::create_provider(&tx, Uuid::new_v4(), "node1").await, "resource provider", "node1");
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
