//! Texts compare byte by byte, with upper and lower case, accents and spaces as they are, whatever the database's own
//! rules. (Nova leaves it to the server: MySQL's `utf8_general_ci` takes "Web" for "web", PostgreSQL does not.)

use kilonova_db::instances::{self, InstanceQuery};
use kilonova_db::{Db, compute_nodes, flavors, keypairs, quotas};
use kilonova_objects::{ComputeNode, Flavor, Instance, KeyPair};
use uuid::Uuid;

use super::support::*;

/// Equal by some rule, and none of them the same; in the order of their bytes.
const ALIKE: [&str; 6] = ["Web", "Web ", "web", "wéb", "wéB😀", "wéb😀"];

fn sorted() -> Vec<&'static str> {
    let mut sorted = ALIKE.to_vec();
    sorted.sort_unstable();
    sorted
}

#[tokio::test]
async fn names_that_look_alike_are_different_keys() {
    on_database(async |db| {
        for name in ALIKE {
            let key =
                KeyPair { name: name.into(), user_id: Some(USER.into()), r#type: "ssh".into(), ..KeyPair::default() };
            keypairs::create(db, &key).await.unwrap();
            let flavor = Flavor { flavorid: name.into(), name: Some(name.into()), ..flavor() };
            flavors::create(db, &flavor, &[]).await.unwrap();
            quotas::set_project(db, name, &[("cores".to_owned(), name.len() as i64)].into()).await.unwrap();
        }
        let keys = keypairs::list(db, USER, None, None).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), sorted());
        let after = keypairs::list(db, USER, Some(2), Some(sorted()[2])).await.unwrap();
        assert_eq!(after.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), sorted()[3..5]);
        for name in ALIKE {
            assert_eq!(keypairs::get(db, USER, name).await.unwrap().name, name);
            assert_eq!(flavors::get(db, name, None).await.unwrap().name.as_deref(), Some(name));
            assert_eq!(quotas::project(db, name).await.unwrap()["cores"], name.len() as i64);
        }
        assert_not_found(keypairs::get(db, USER, "WEB").await, "keypair", "WEB");
        assert_not_found(flavors::get(db, "web ", None).await, "flavor", "web ");
    })
    .await;
}

async fn named(db: &Db, query: InstanceQuery) -> Vec<String> {
    let listed = instances::list(db, &InstanceQuery { sort: vec![("display_name".into(), false)], ..query }).await;
    listed.unwrap().into_iter().map(|found| found.display_name.unwrap()).collect()
}

#[tokio::test]
async fn filters_find_what_they_say_and_nothing_that_looks_like_it() {
    on_database(async |db| {
        let server = |name: &str| Instance {
            host: Some(name.into()),
            metadata: ALIKE.map(|key| (format!("{key}{name}"), name.to_owned())).into(),
            ..instance(name)
        };
        create(db, ALIKE.map(server).into()).await;
        assert_eq!(named(db, InstanceQuery::default()).await, sorted());
        for name in ALIKE {
            let on_host = InstanceQuery { host: Some(name.into()), ..InstanceQuery::default() };
            assert_eq!(named(db, on_host).await, [name]);
            let pair = (format!("{}{name}", ALIKE[0]), name.to_owned());
            let with_metadata = InstanceQuery { metadata: vec![pair], ..InstanceQuery::default() };
            assert_eq!(named(db, with_metadata).await, [name]);
        }
        let pattern = async |pattern: &str| {
            named(db, InstanceQuery { name: Some(pattern.into()), ..InstanceQuery::default() }).await
        };
        assert_eq!(pattern("eb").await, ["Web", "Web ", "web"]);
        assert_eq!(pattern("éb").await, ["wéb", "wéb😀"]);
        assert_eq!(pattern("^web$").await, ["web"]);
        assert_eq!(pattern("(?i)^WEB$").await, ["Web", "web"]);
        assert_eq!(pattern(r"\s$").await, ["Web "]);
        assert_eq!(pattern("[^a-zA-Z ]b").await, ["wéb", "wéb😀"]);
    })
    .await;
}

#[tokio::test]
async fn a_search_takes_wildcards_as_letters() {
    on_database(async |db| {
        for name in ["n1.example", "N1.example", "n_.example", "n%.example", "n!.example", r"n\.example"] {
            let (host, hypervisor_hostname) = (Some(name.into()), Some(name.into()));
            let node = ComputeNode { uuid: Uuid::new_v4(), host, hypervisor_hostname, ..ComputeNode::default() };
            compute_nodes::create(db, &node).await.unwrap();
        }
        for (text, expected) in [
            ("n1", vec!["n1.example"]),
            ("n_", vec!["n_.example"]),
            ("n%", vec!["n%.example"]),
            ("n!", vec!["n!.example"]),
            (r"n\", vec![r"n\.example"]),
            ("N", vec!["N1.example"]),
        ] {
            let found = compute_nodes::search(db, text).await.unwrap();
            let names: Vec<_> = found.iter().map(|node| node.hypervisor_hostname.as_deref().unwrap()).collect();
            assert_eq!(names, expected, "{text}");
        }
    })
    .await;
}
