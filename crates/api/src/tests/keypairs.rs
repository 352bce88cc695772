//! `/os-keypairs`

use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, READER};

fn import(name: &str) -> Value {
    json!({"keypair": {"name": name, "public_key": key()}})
}

/// A fresh key of the kind that users bring.
fn key() -> String {
    let key = ssh_key::PrivateKey::random(&mut ssh_key::rand_core::OsRng, ssh_key::Algorithm::Ed25519).unwrap();
    key.public_key().to_openssh().unwrap()
}

fn names(body: &Value) -> Vec<&str> {
    body["keypairs"].as_array().unwrap().iter().map(|item| item["keypair"]["name"].as_str().unwrap()).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_generated_pair_is_shown_whole_once() {
    let cloud = Cloud::new().await;
    let created =
        cloud.post(MEMBER, "2.2", "/os-keypairs", json!({"keypair": {"name": "mine"}})).await.expect(201).body;
    let keypair = &created["keypair"];
    assert_eq!(keys(keypair), ["fingerprint", "name", "private_key", "public_key", "type", "user_id"]);
    assert_eq!((&keypair["type"], &keypair["user_id"]), (&json!("ssh"), &json!("member-user")));
    let private = ssh_key::PrivateKey::from_openssh(keypair["private_key"].as_str().unwrap()).unwrap();
    let public = ssh_key::PublicKey::from_openssh(keypair["public_key"].as_str().unwrap()).unwrap();
    assert_eq!(private.public_key().key_data(), public.key_data());
    let shown = cloud.get(MEMBER, "2.2", "/os-keypairs/mine").await.expect(200).body["keypair"].clone();
    assert_eq!(
        keys(&shown),
        [
            "created_at",
            "deleted",
            "deleted_at",
            "fingerprint",
            "id",
            "name",
            "public_key",
            "type",
            "updated_at",
            "user_id"
        ]
    );
    assert_eq!(shown["fingerprint"], keypair["fingerprint"]);
    assert_eq!(
        (&shown["deleted"], &shown["deleted_at"], &shown["updated_at"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    let created_at = shown["created_at"].as_str().unwrap();
    assert!(chrono::NaiveDateTime::parse_from_str(created_at, "%Y-%m-%dT%H:%M:%S.%f").is_ok(), "{created_at}");
}

#[tokio::test]
async fn a_brought_key_is_kept_as_it_came() {
    let cloud = Cloud::new().await;
    let created = cloud.post(MEMBER, "2.92", "/os-keypairs", import("a@b.c")).await.expect(201).body;
    assert_eq!(keys(&created["keypair"]), ["fingerprint", "name", "public_key", "type", "user_id"]);
    let fingerprint = created["keypair"]["fingerprint"].as_str().unwrap();
    assert!(regex::Regex::new("^([0-9a-f]{2}:){15}[0-9a-f]{2}$").unwrap().is_match(fingerprint), "{fingerprint}");
    cloud.get(MEMBER, "2.92", "/os-keypairs/a@b.c").await.expect(200);
}

#[tokio::test]
async fn statuses_and_the_type_changed_with_2_2() {
    let cloud = Cloud::new().await;
    let old = cloud.post(MEMBER, "2.1", "/os-keypairs", import("old")).await.expect(200).body;
    assert_eq!(keys(&old["keypair"]), ["fingerprint", "name", "public_key", "user_id"]);
    cloud.post(MEMBER, "2.2", "/os-keypairs", import("new")).await.expect(201);
    let typed = json!({"keypair": {"name": "typed", "type": "ssh"}});
    cloud.post(MEMBER, "2.1", "/os-keypairs", typed).await.expect(400);
    let listed = cloud.get(MEMBER, "2.1", "/os-keypairs").await.expect(200).body;
    assert_eq!(keys(&listed["keypairs"][0]["keypair"]), ["fingerprint", "name", "public_key"]);
    let listed = cloud.get(MEMBER, "2.2", "/os-keypairs").await.expect(200).body;
    assert_eq!(keys(&listed["keypairs"][0]["keypair"]), ["fingerprint", "name", "public_key", "type"]);
    cloud.delete(MEMBER, "2.1", "/os-keypairs/old").await.expect(202);
    cloud.delete(MEMBER, "2.2", "/os-keypairs/new").await.expect(204);
    let gone = cloud.delete(MEMBER, "2.2", "/os-keypairs/new").await;
    gone.expect_fault(404, "itemNotFound", "Keypair new not found for user member-user");
    let gone = cloud.get(MEMBER, "2.2", "/os-keypairs/new").await;
    gone.expect_fault(404, "itemNotFound", "Keypair new not found for user member-user");
}

#[tokio::test]
async fn garbage_is_no_key() {
    let cloud = Cloud::new().await;
    for garbage in ["", "ssh-rsa JUNK nova@localhost", "-----BEGIN CERTIFICATE-----"] {
        let body = json!({"keypair": {"name": "bad", "public_key": garbage}});
        let reply = cloud.post(MEMBER, "2.2", "/os-keypairs", body).await;
        reply.expect_fault(400, "badRequest", "Keypair data is invalid: failed to generate fingerprint");
    }
    let certificate = json!({"keypair": {"name": "bad", "type": "x509", "public_key": "ssh-rsa AAAA"}});
    let reply = cloud.post(MEMBER, "2.2", "/os-keypairs", certificate).await.expect(400);
    let message = "Keypair data is invalid: failed to generate X509 fingerprint. Error message: ";
    assert!(reply.message().starts_with(message), "{}", reply.message());
    assert!(names(&cloud.get(MEMBER, "2.2", "/os-keypairs").await.body).is_empty());
}

#[tokio::test]
async fn names_are_unique_per_user_and_of_safe_characters() {
    let cloud = Cloud::new().await;
    cloud.post(MEMBER, "2.2", "/os-keypairs", import("mine")).await.expect(201);
    cloud.post(OTHER, "2.2", "/os-keypairs", import("mine")).await.expect(201);
    let twice = cloud.post(MEMBER, "2.2", "/os-keypairs", import("mine")).await;
    twice.expect_fault(409, "conflictingRequest", "Key pair 'mine' already exists.");
    for name in ["", " a", "a/b", "a@b", "a.b", "ünïcode", &"n".repeat(256)] {
        cloud.post(MEMBER, "2.91", "/os-keypairs", import(name)).await.expect(400);
    }
    let reply = cloud.post(MEMBER, "2.91", "/os-keypairs", import("a@b")).await;
    assert_eq!(
        reply.message(),
        r"Invalid input for field/attribute name. Value: a@b. 'a@b' does not match '^[_\\- a-zA-Z0-9]+$'"
    );
}

#[tokio::test]
async fn from_2_92_a_pair_is_no_longer_made() {
    let cloud = Cloud::new().await;
    cloud.post(MEMBER, "2.91", "/os-keypairs", json!({"keypair": {"name": "made"}})).await.expect(201);
    let refused = cloud.post(MEMBER, "2.92", "/os-keypairs", json!({"keypair": {"name": "not"}})).await;
    refused.expect_fault(
        400,
        "badRequest",
        "Invalid input for field/attribute keypair. Value: {'name': 'not'}. 'public_key' is a required property",
    );
}

#[tokio::test]
async fn from_2_10_admins_look_after_the_keys_of_others() {
    let cloud = Cloud::new().await;
    let theirs = json!({"keypair": {"name": "theirs", "public_key": key(), "user_id": "other-user"}});
    cloud.post(ADMIN, "2.9", "/os-keypairs", theirs.clone()).await.expect(400);
    let created = cloud.post(ADMIN, "2.10", "/os-keypairs", theirs.clone()).await.expect(201).body;
    assert_eq!(created["keypair"]["user_id"], "other-user");
    let listed = async |version: &str, token: &str| {
        let reply = cloud.get(token, version, "/os-keypairs?user_id=other-user").await.expect(200);
        names(&reply.body).join(" ")
    };
    assert_eq!(listed("2.9", ADMIN).await, "", "the parameter means nothing yet");
    assert_eq!(listed("2.10", ADMIN).await, "theirs");
    assert_eq!(listed("2.10", OTHER).await, "theirs");
    let denied = |rule: &str| format!("Policy doesn't allow os_compute_api:os-keypairs:{rule} to be performed.");
    let path = "/os-keypairs/theirs?user_id=other-user";
    cloud.get(MEMBER, "2.10", "/os-keypairs?user_id=other-user").await.expect_fault(403, "forbidden", &denied("index"));
    cloud.get(MEMBER, "2.10", path).await.expect_fault(403, "forbidden", &denied("show"));
    cloud.delete(MEMBER, "2.10", path).await.expect_fault(403, "forbidden", &denied("delete"));
    cloud.post(MEMBER, "2.10", "/os-keypairs", theirs).await.expect_fault(403, "forbidden", &denied("create"));
    cloud.delete(ADMIN, "2.10", path).await.expect(204);
    cloud.get(OTHER, "2.10", "/os-keypairs/theirs").await.expect(404);
}

#[tokio::test]
async fn key_pairs_need_no_role_since_they_are_the_users_own() {
    let cloud = Cloud::new().await;
    for token in [NOBODY, READER] {
        cloud.post(token, "2.2", "/os-keypairs", import("mine")).await.expect(201);
        cloud.get(token, "2.2", "/os-keypairs/mine").await.expect(200);
        cloud.delete(token, "2.2", "/os-keypairs/mine").await.expect(204);
    }
}

#[tokio::test]
async fn lists_are_paged_from_2_35() {
    let cloud = Cloud::new().await;
    for name in ["c", "a", "b"] {
        cloud.post(MEMBER, "2.2", "/os-keypairs", import(name)).await.expect(201);
    }
    let all = cloud.get(MEMBER, "2.34", "/os-keypairs?limit=1").await.expect(200).body;
    assert_eq!((names(&all), all.get("keypairs_links")), (vec!["a", "b", "c"], None));
    let first = cloud.get(MEMBER, "2.35", "/os-keypairs?limit=2").await.expect(200).body;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(
        first["keypairs_links"],
        json!([{"rel": "next", "href": "http://cloud:8774/v2.1/os-keypairs?limit=2&marker=b"}])
    );
    let rest = cloud.get(MEMBER, "2.35", "/os-keypairs?limit=2&marker=b").await.expect(200).body;
    assert_eq!((names(&rest), rest.get("keypairs_links")), (vec!["c"], None));
    let unknown = cloud.get(MEMBER, "2.35", "/os-keypairs?marker=x").await;
    unknown.expect_fault(400, "badRequest", "Marker x could not be found.");
    cloud.get(MEMBER, "2.74", "/os-keypairs?colour=blue").await.expect(200);
    cloud.get(MEMBER, "2.75", "/os-keypairs?colour=blue").await.expect(400);
}

#[tokio::test]
async fn a_user_has_no_more_key_pairs_than_allowed_even_when_asked_at_once() {
    let cloud = Cloud::with_config("[quota]\nkey_pairs = 2\n").await;
    let names = ["a", "b", "c", "d", "e"];
    let asked = names.map(|name| cloud.post(MEMBER, "2.2", "/os-keypairs", import(name)));
    let replies = futures::future::join_all(asked).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 2);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.expect_fault(403, "forbidden", "Quota exceeded, too many key pairs.");
    }
    assert_eq!(self::names(&cloud.get(MEMBER, "2.2", "/os-keypairs").await.body).len(), 2);
    let over = cloud.post(MEMBER, "2.2", "/os-keypairs", json!({"keypair": {"name": "z"}})).await;
    over.expect_fault(403, "forbidden", "Quota exceeded, too many key pairs.");
    cloud.post(OTHER, "2.2", "/os-keypairs", import("theirs")).await.expect(201);
}

#[tokio::test]
async fn certificates_are_made_and_imported() {
    let cloud = Cloud::new().await;
    let made = json!({"keypair": {"name": "made", "type": "x509"}});
    let made = cloud.post(MEMBER, "2.2", "/os-keypairs", made).await.expect(201).body["keypair"].clone();
    assert_eq!(made["type"], "x509");
    let certificate = made["public_key"].as_str().unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
    assert!(made["private_key"].as_str().unwrap().starts_with("MII"), "{made}");
    assert_eq!(made["fingerprint"].as_str().unwrap().len(), 20 * 3 - 1);

    let brought = json!({"keypair": {"name": "brought", "type": "x509", "public_key": certificate}});
    let brought = cloud.post(MEMBER, "2.92", "/os-keypairs", brought).await.expect(201).body["keypair"].clone();
    assert_eq!((&brought["fingerprint"], brought.get("private_key")), (&made["fingerprint"], None));
    let shown = cloud.get(MEMBER, "2.2", "/os-keypairs/brought").await.expect(200);
    assert_eq!(
        (&shown.body["keypair"]["type"], &shown.body["keypair"]["public_key"]),
        (&json!("x509"), &json!(certificate))
    );
}
