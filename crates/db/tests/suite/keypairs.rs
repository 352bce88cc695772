//! Key pairs of users.

use kilonova_db::keypairs;
use kilonova_objects::KeyPair;

use super::support::*;

fn key(user: &str, name: &str) -> KeyPair {
    KeyPair {
        name: name.into(),
        user_id: Some(user.into()),
        fingerprint: Some("aa:bb".into()),
        public_key: Some("ssh-ed25519 AAAA".into()),
        r#type: "ssh".into(),
        ..KeyPair::default()
    }
}

#[tokio::test]
async fn a_key_pair_reads_back_whole_and_is_its_users_own() {
    on_database(async |db| {
        let given = key(USER, "k");
        let created = keypairs::create(db, &given).await.unwrap();
        assert!(created.id > 0 && created.created_at.is_some());
        assert_eq!(created, KeyPair { id: created.id, created_at: created.created_at, ..given.clone() });
        assert_eq!(keypairs::get(db, USER, "k").await.unwrap(), created);
        assert_exists(keypairs::create(db, &given).await, "keypair", "k");
        assert_not_found(keypairs::get(db, "bob", "k").await, "keypair", "k");
        keypairs::create(db, &key("bob", "k")).await.unwrap();
        assert_eq!(keypairs::count(db, USER).await.unwrap(), 1);
        keypairs::delete(db, USER, "k").await.unwrap();
        assert_not_found(keypairs::delete(db, USER, "k").await, "keypair", "k");
        assert_eq!((keypairs::count(db, USER).await.unwrap(), keypairs::count(db, "bob").await.unwrap()), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn key_pairs_are_paged_by_name() {
    on_database(async |db| {
        for name in ["c", "a", "b"] {
            keypairs::create(db, &key(USER, name)).await.unwrap();
        }
        keypairs::create(db, &key("bob", "z")).await.unwrap();
        let names = async |limit, marker| -> Vec<String> {
            let listed = keypairs::list(db, USER, limit, marker).await.unwrap();
            listed.into_iter().map(|keypair| keypair.name).collect()
        };
        assert_eq!(names(None, None).await, ["a", "b", "c"]);
        assert_eq!(names(Some(2), None).await, ["a", "b"]);
        assert_eq!(names(Some(2), Some("b")).await, ["c"]);
        assert_eq!(names(None, Some("c")).await, Vec::<String>::new());
        assert_not_found(keypairs::list(db, USER, None, Some("z")).await, "marker", "z");
    })
    .await;
}
