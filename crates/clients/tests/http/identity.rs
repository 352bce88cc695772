//! Validation of tokens, and what is kept of it.

use std::sync::Arc;

use futures::future::join_all;
use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpIdentity, Sessions};
use kilonova_clients::identity::Identity as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::server::{LOGIN, Seen, Server, reply};

const VALIDATION: &str = "GET /identity/v3/auth/tokens";

fn identity(server: &Server, options: &str) -> HttpIdentity {
    HttpIdentity::from_config(&server.config(&[("keystone_authtoken", options)]), &mut Sessions::default()).unwrap()
}

fn token(expires_at: &str) -> Value {
    let user = json!({"id": "u", "name": "alice", "domain": {"id": "default", "name": "Default"}});
    json!({"token": {"user": user, "roles": [{"name": "member"}], "expires_at": expires_at}})
}

fn valid() -> Option<axum::response::Response> {
    reply(200, token("2099-01-01T00:00:00.000000Z"))
}

#[tokio::test]
async fn many_who_come_with_a_token_at_once_are_one_question_and_later_ones_none() {
    let gate = Arc::new(Semaphore::new(0));
    let entry = gate.clone();
    let server = Server::start(move |seen: Seen| {
        let entry = entry.clone();
        async move {
            if seen.what != VALIDATION {
                return None;
            }
            entry.acquire().await.unwrap().forget();
            valid()
        }
    })
    .await;
    let identity = identity(&server, "");
    let open = async {
        while server.count(VALIDATION) == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| identity.validate("user"))), open);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|info| info.user_name == "alice")));
    assert!(identity.validate("user").await.is_ok());
    let validations: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.what == VALIDATION).collect();
    let [validation] = validations.as_slice() else { panic!("{validations:?}") };
    assert_eq!((validation.token(), validation.header("x-subject-token")), ("service-1", "user"));
}

#[tokio::test]
async fn without_a_cache_every_request_asks() {
    let server = Server::start(async |seen: Seen| if seen.what == VALIDATION { valid() } else { None }).await;
    let identity = identity(&server, "token_cache_time = -1");
    for _ in 0..3 {
        identity.validate("user").await.unwrap();
    }
    assert_eq!(server.count(VALIDATION), 3);
}

#[tokio::test]
async fn what_keystone_does_not_know_or_has_ended_is_unauthorized() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.header("x-subject-token")) {
        (VALIDATION, "ended") => reply(200, token("2020-01-01T00:00:00Z")),
        (VALIDATION, _) => reply(404, json!({"error": {"message": "no such token"}})),
        _ => None,
    })
    .await;
    let identity = identity(&server, "");
    for _ in 0..2 {
        assert_eq!(identity.validate("pony").await, Err(ClientError::Unauthorized));
        assert_eq!(identity.validate("ended").await, Err(ClientError::Unauthorized));
    }
    assert_eq!(server.count(VALIDATION), 2);
}

#[tokio::test]
async fn a_failure_of_keystone_is_no_verdict_on_the_token() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.number) {
        (VALIDATION, 0) => reply(500, json!({"error": {"message": "database"}})),
        (VALIDATION, 1) => reply(403, json!({"error": {"message": "not allowed to validate"}})),
        (VALIDATION, _) => valid(),
        _ => None,
    })
    .await;
    let identity = identity(&server, "");
    let failed = |reason: &str| Err(ClientError::unavailable("identity", reason));
    assert_eq!(identity.validate("user").await, failed("HTTP 500: database"));
    assert_eq!(identity.validate("user").await, failed("HTTP 403: not allowed to validate"));
    assert!(identity.validate("user").await.is_ok());
}

#[tokio::test]
async fn the_services_own_token_is_renewed_when_keystone_refuses_it() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.token()) {
        (VALIDATION, "service-2") => valid(),
        (VALIDATION, _) => reply(401, json!(null)),
        _ => None,
    })
    .await;
    assert!(identity(&server, "").validate("user").await.is_ok());
    assert_eq!((server.count(LOGIN), server.count(VALIDATION)), (2, 2));
}

#[tokio::test]
async fn a_project_that_may_not_be_looked_at_is_taken_to_exist() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "GET /identity/v3/projects/hidden" => reply(403, json!(null)),
        "GET /identity/v3/projects/there" => reply(200, json!({"project": {}})),
        _ => None,
    })
    .await;
    let identity = identity(&server, "");
    assert_eq!(identity.project_exists("hidden").await, Ok(true));
    assert_eq!(identity.project_exists("there").await, Ok(true));
    assert_eq!(identity.project_exists("not/there").await, Ok(false));
    assert_eq!(server.asked()[2], "GET /identity/v3/projects/not%2Fthere");
}
