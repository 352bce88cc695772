//! `/flavors`

use kilonova_db::flavors;
use kilonova_objects::Flavor;
use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, OTHER, OTHER_PROJECT, PROJECT, READER};

pub(super) fn flavor(flavorid: &str, is_public: bool) -> Flavor {
    Flavor {
        flavorid: flavorid.to_owned(),
        name: Some(format!("name of {flavorid}")),
        memory_mb: 4096,
        vcpus: 2,
        root_gb: 40,
        rxtx_factor: Some(1.0),
        is_public,
        ..Flavor::default()
    }
}

fn ids(body: &Value) -> Vec<&str> {
    body["flavors"].as_array().unwrap().iter().map(|flavor| flavor["id"].as_str().unwrap()).collect()
}

fn body(changes: Value) -> Value {
    let mut flavor = json!({"name": "new", "ram": 512, "vcpus": 1, "disk": 10, "id": "new-id"});
    flavor.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({"flavor": flavor})
}

#[tokio::test]
async fn a_brief_list_has_ids_names_and_links_and_from_2_55_descriptions() {
    let cloud = Cloud::new().await;
    let old = cloud.get(READER, "2.54", "/flavors").await.expect(200).body;
    assert_eq!(
        old["flavors"][0],
        json!({"id": "1", "name": "m1.tiny", "links": [
            {"rel": "self", "href": "http://cloud:8774/v2.1/flavors/1"},
            {"rel": "bookmark", "href": "http://cloud:8774/flavors/1"},
        ]})
    );
    assert_eq!(ids(&old), ["1", "2"]);
    let new = cloud.get(READER, "2.55", "/flavors").await.expect(200).body;
    assert_eq!(new["flavors"][0]["description"], Value::Null);
    assert!(new["flavors"][0].as_object().unwrap().contains_key("description"));
}

#[tokio::test]
async fn details_change_with_the_microversion() {
    let cloud = Cloud::new().await;
    let expected = json!({
        "id": "1", "name": "m1.tiny", "ram": 512, "disk": 1, "swap": "", "vcpus": 1, "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0, "OS-FLV-DISABLED:disabled": false, "os-flavor-access:is_public": true,
        "links": [
            {"rel": "self", "href": "http://cloud:8774/v2.1/flavors/1"},
            {"rel": "bookmark", "href": "http://cloud:8774/flavors/1"},
        ],
    });
    for path in ["/flavors/detail", "/flavors/1"] {
        let shown = |body: Value| body.get("flavor").cloned().unwrap_or_else(|| body["flavors"][0].clone());
        let at = async |version: &str| shown(cloud.get(MEMBER, version, path).await.expect(200).body);
        assert_eq!(at("2.1").await, expected, "{path}");
        assert_eq!(at("2.55").await["description"], Value::Null);
        assert_eq!(at("2.60").await.get("extra_specs"), None);
        assert_eq!(at("2.61").await["extra_specs"], json!({"hw:cpu_policy": "shared"}));
        assert_eq!(at("2.74").await["swap"], "");
        assert_eq!(at("2.75").await["swap"], 0);
    }
}

#[tokio::test]
async fn extra_specs_are_shown_only_to_whom_the_policy_shows_them() {
    let cloud = Cloud::new().await;
    let nobody = cloud.get(super::cloud::NOBODY, "2.61", "/flavors/1").await.expect(200).body;
    assert_eq!(nobody["flavor"].get("extra_specs"), None);
}

#[tokio::test]
async fn a_flavor_is_created_with_what_was_asked_and_defaults_for_the_rest() {
    let cloud = Cloud::new().await;
    let created =
        cloud.post(ADMIN, "2.96", "/flavors", body(json!({"description": "for tests"}))).await.expect(200).body;
    let flavor = &created["flavor"];
    assert_eq!(flavor["id"], "new-id");
    assert_eq!(flavor["description"], "for tests");
    assert_eq!(flavor["swap"], 0);
    assert_eq!(flavor["rxtx_factor"], 1.0);
    assert_eq!(flavor["os-flavor-access:is_public"], true);
    assert_eq!(flavor["extra_specs"], json!({}));
    assert_eq!(cloud.get(OTHER, "2.96", "/flavors/new-id").await.expect(200).body, created);
    let all = json!({"id": null, "name": "full", "ram": "1024", "swap": 5, "OS-FLV-EXT-DATA:ephemeral": 7,
        "rxtx_factor": "2.5", "os-flavor-access:is_public": "False"});
    let full = cloud.post(ADMIN, "2.1", "/flavors", body(all)).await.expect(200).body["flavor"].clone();
    assert!(uuid::Uuid::parse_str(full["id"].as_str().unwrap()).is_ok(), "{full}");
    let fields = ["ram", "swap", "OS-FLV-EXT-DATA:ephemeral", "rxtx_factor", "os-flavor-access:is_public"];
    assert_eq!(fields.map(|name| full[name].clone()), [json!(1024), json!(5), json!(7), json!(2.5), json!(false)]);
}

#[tokio::test]
async fn ids_and_names_of_flavors_are_unique() {
    let cloud = Cloud::new().await;
    let same_id = cloud.post(ADMIN, "2.1", "/flavors", body(json!({"id": "1"}))).await;
    same_id.expect_fault(409, "conflictingRequest", "Flavor with ID 1 already exists.");
    let same_name = cloud.post(ADMIN, "2.1", "/flavors", body(json!({"name": "m1.tiny"}))).await;
    same_name.expect_fault(409, "conflictingRequest", "Flavor with name m1.tiny already exists.");
    assert_eq!(ids(&cloud.get(ADMIN, "2.1", "/flavors").await.body), ["1", "2"]);
}

#[tokio::test]
async fn a_flavor_that_makes_no_sense_is_refused() {
    let cloud = Cloud::new().await;
    for (change, reason) in [
        (json!({"ram": 0}), "Invalid input for field/attribute ram. Value: 0. 0 is less than the minimum of 1"),
        (json!({"vcpus": -1}), "Invalid input for field/attribute vcpus. Value: -1. -1 is less than the minimum of 1"),
        (json!({"disk": "x"}), "Invalid input for field/attribute disk. Value: x. 'x' does not match '^[0-9]+$'"),
        (
            json!({"swap": 2_147_483_648_u32}),
            "Invalid input for field/attribute swap. Value: 2147483648. 2147483648 is greater than the maximum of \
             2147483647",
        ),
        (
            json!({"description": "too early"}),
            "Invalid input for field/attribute flavor. Value: {'description': 'too early', 'disk': 10, 'id': 'new-id', \
             'name': 'new', 'ram': 512, 'vcpus': 1}. Additional properties are not allowed ('description' was unexpected)",
        ),
    ] {
        let reply = cloud.post(ADMIN, "2.54", "/flavors", body(change)).await;
        reply.expect_fault(400, "badRequest", reason);
    }
    for change in [
        json!({"id": " x"}),
        json!({"id": "a/b"}),
        json!({"name": ""}),
        json!({"rxtx_factor": 0}),
        json!({"rxtx_factor": "0.0"}),
        json!({"name": "n".repeat(256)}),
        json!({"os-flavor-access:is_public": "maybe"}),
    ] {
        cloud.post(ADMIN, "2.55", "/flavors", body(change)).await.expect(400);
    }
    assert_eq!(ids(&cloud.get(ADMIN, "2.1", "/flavors").await.body), ["1", "2"]);
}

#[tokio::test]
async fn only_the_description_can_be_changed_and_only_from_2_55() {
    let cloud = Cloud::new().await;
    let description = json!({"flavor": {"description": "small"}});
    cloud.put(ADMIN, "2.54", "/flavors/1", description.clone()).await.expect(404);
    let updated = cloud.put(ADMIN, "2.55", "/flavors/1", description.clone()).await.expect(200).body;
    assert_eq!(updated["flavor"]["description"], "small");
    let cleared =
        cloud.put(ADMIN, "2.61", "/flavors/1", json!({"flavor": {"description": null}})).await.expect(200).body;
    assert_eq!(cleared["flavor"]["description"], Value::Null);
    assert_eq!(cleared["flavor"]["extra_specs"], json!({"hw:cpu_policy": "shared"}));
    cloud.put(ADMIN, "2.55", "/flavors/1", json!({"flavor": {"ram": 1}})).await.expect(400);
    let missing = cloud.put(ADMIN, "2.55", "/flavors/none", description).await;
    missing.expect_fault(404, "itemNotFound", "Flavor none could not be found.");
}

#[tokio::test]
async fn a_deleted_flavor_is_gone() {
    let cloud = Cloud::new().await;
    let deleted = cloud.delete(ADMIN, "2.96", "/flavors/1").await.expect(202);
    assert_eq!(deleted.body, Value::Null);
    cloud.get(ADMIN, "2.96", "/flavors/1").await.expect_fault(404, "itemNotFound", "Flavor 1 could not be found.");
    cloud.delete(ADMIN, "2.96", "/flavors/1").await.expect_fault(404, "itemNotFound", "Flavor 1 could not be found.");
}

#[tokio::test]
async fn private_flavors_are_seen_by_admins_and_by_projects_with_access() {
    let cloud = Cloud::new().await;
    flavors::create(&cloud.db, &flavor("private", false), &[PROJECT.to_owned()]).await.unwrap();
    flavors::create(&cloud.db, &flavor("theirs", false), &[OTHER_PROJECT.to_owned()]).await.unwrap();
    let seen = async |token: &str, query: &str| {
        let body = cloud.get(token, "2.1", &format!("/flavors{query}")).await.expect(200).body;
        ids(&body).join(" ")
    };
    assert_eq!(seen(MEMBER, "").await, "1 2 private");
    assert_eq!(seen(MEMBER, "?is_public=none").await, "1 2 private");
    assert_eq!(seen(OTHER, "").await, "1 2 theirs");
    assert_eq!(seen(ADMIN, "").await, "1 2 private");
    assert_eq!(seen(ADMIN, "?is_public=None").await, "1 2 private theirs");
    assert_eq!(seen(ADMIN, "?is_public=false").await, "private theirs");
    assert_eq!(seen(ADMIN, "?is_public=yes").await, "1 2 private");
    cloud.get(OTHER, "2.1", "/flavors/private").await.expect_fault(
        404,
        "itemNotFound",
        "Flavor private could not be found.",
    );
    cloud.get(MEMBER, "2.1", "/flavors/private").await.expect(200);
    cloud.get(ADMIN, "2.1", "/flavors/theirs").await.expect(200);
    let nonsense = cloud.get(ADMIN, "2.1", "/flavors?is_public=maybe").await;
    nonsense.expect_fault(400, "badRequest", "Invalid is_public filter [maybe]");
}

#[tokio::test]
async fn disabled_flavors_are_listed_for_admins_only() {
    let cloud = Cloud::new().await;
    flavors::create(&cloud.db, &Flavor { disabled: true, ..flavor("old", true) }, &[]).await.unwrap();
    assert_eq!(ids(&cloud.get(ADMIN, "2.1", "/flavors").await.body), ["1", "2", "old"]);
    assert_eq!(ids(&cloud.get(MEMBER, "2.1", "/flavors").await.body), ["1", "2"]);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let cloud = Cloud::new().await;
    flavors::create(&cloud.db, &flavor("3", true), &[]).await.unwrap();
    let get = async |query: &str| cloud.get(MEMBER, "2.96", &format!("/flavors{query}")).await;
    assert_eq!(ids(&get("?minRam=2048").await.body), ["2", "3"]);
    assert_eq!(ids(&get("?minDisk=21").await.body), ["3"]);
    assert_eq!(ids(&get("?sort_key=memory_mb&sort_dir=desc").await.body), ["3", "2", "1"]);
    let first = get("/detail?limit=2").await.expect(200).body;
    assert_eq!(ids(&first), ["1", "2"]);
    assert_eq!(
        first["flavors_links"],
        json!([{"rel": "next", "href": "http://cloud:8774/v2.1/flavors/detail?limit=2&marker=2"}])
    );
    let last = get("?limit=2&marker=2").await.expect(200).body;
    assert_eq!((ids(&last), last.get("flavors_links")), (vec!["3"], None));
    assert_eq!(ids(&get("?limit=0").await.body), Vec::<&str>::new());
    get("?marker=none").await.expect_fault(400, "badRequest", "marker [none] not found");
    get("?minRam=much").await.expect_fault(400, "badRequest", "Invalid minRam filter [much]");
    get("?minDisk=1.5").await.expect_fault(400, "badRequest", "Invalid minDisk filter [1.5]");
    let negative = get("?limit=-1").await;
    assert_eq!(
        negative.expect(400).message(),
        "Invalid input for query parameters limit. Value: -1. '-1' does not match '^[0-9]*$'"
    );
    get("?sort_key=colour").await.expect(400);
}

#[tokio::test]
async fn unknown_parameters_are_refused_from_2_75() {
    let cloud = Cloud::new().await;
    cloud.get(MEMBER, "2.74", "/flavors?colour=blue").await.expect(200);
    cloud.get(MEMBER, "2.75", "/flavors?colour=blue").await.expect(400);
}

#[tokio::test]
async fn the_longest_list_is_what_the_configuration_says() {
    let cloud = Cloud::with_config("[api]\nmax_limit = 1\n").await;
    let page = cloud.get(MEMBER, "2.1", "/flavors?limit=5").await.expect(200).body;
    assert_eq!(ids(&page), ["1"]);
    assert_eq!(page["flavors_links"][0]["href"], "http://cloud:8774/v2.1/flavors?limit=5&marker=1");
}
