//! What all clients have in common: tokens, retries, time limits, catalogs.

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use futures::future::join_all;
use kilonova_clients::http::{HttpPlacement, Sessions, clients_without_downloads};
use kilonova_clients::placement::{Allocations, Placement as _};
use kilonova_clients::{ClientError, Clients};
use kilonova_core::RequestContext;
use serde_json::json;
use uuid::Uuid;

use crate::server::{LOGIN, Seen, Server, login, never, reply, text};

fn placement(server: &Server, options: &[(&str, &str)]) -> HttpPlacement {
    HttpPlacement::from_config(&server.config(options), &mut Sessions::default()).unwrap()
}

fn clients(server: &Server, options: &[(&str, &str)]) -> Clients {
    clients_without_downloads(&server.config(options)).unwrap()
}

/// The simplest request: what nobody has.
async fn ask(placement: &HttpPlacement) -> Result<Allocations, ClientError> {
    placement.allocations(&RequestContext::admin(), Uuid::nil()).await
}

const ASKED: &str = "GET /placement/allocations/00000000-0000-0000-0000-000000000000";

fn nothing() -> Option<axum::response::Response> {
    reply(200, json!({"allocations": {}}))
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, ClientError>, expected_service: &str) -> String {
    match result {
        Err(ClientError::Unavailable { service, reason }) if service == expected_service => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_taken_once_and_sent_with_every_request() {
    let server = Server::start(async |seen: Seen| if seen.what == ASKED { nothing() } else { None }).await;
    let placement = placement(&server, &[]);
    for _ in 0..3 {
        assert_eq!(ask(&placement).await, Ok(Allocations::new()));
    }
    assert_eq!((server.count(LOGIN), server.count(ASKED)), (1, 3));
    let seen = server.seen();
    let user = json!({"name": "nova", "domain": {"name": "Default"}, "password": "top secret"});
    assert_eq!(seen[0].body["auth"]["identity"], json!({"methods": ["password"], "password": {"user": user}}));
    assert!(seen[1..].iter().all(|seen| seen.token() == "service-1"));
    assert!(seen[1..].iter().all(|seen| seen.header("openstack-api-version") == "placement 1.36"));
}

#[tokio::test]
async fn sections_with_the_same_credentials_share_a_token() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        ASKED => nothing(),
        "GET /network/v2.0/ports" => reply(200, json!({"ports": []})),
        _ => None,
    })
    .await;
    let clients = clients(&server, &[]);
    let admin = RequestContext::admin();
    clients.placement.allocations(&admin, Uuid::nil()).await.unwrap();
    clients.network.devices_with_ports(&admin).await.unwrap();
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_request_repeated() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.token()) {
        (ASKED, "service-2") => nothing(),
        (ASKED, _) => reply(401, json!({"error": {"message": "no"}})),
        _ => None,
    })
    .await;
    let placement = placement(&server, &[]);
    assert_eq!(ask(&placement).await, Ok(Allocations::new()));
    assert_eq!((server.count(LOGIN), server.count(ASKED)), (2, 2));
}

#[tokio::test]
async fn a_request_whose_new_token_is_refused_too_is_not_repeated_again() {
    let server =
        Server::start(async |seen: Seen| if seen.what == ASKED { reply(401, json!(null)) } else { None }).await;
    let reason = unavailable(ask(&placement(&server, &[])).await, "placement");
    assert_eq!(reason, "the token of [placement] is refused");
    assert_eq!((server.count(LOGIN), server.count(ASKED)), (2, 2));
}

#[tokio::test]
async fn refused_credentials_are_named_and_not_shown() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        LOGIN => {
            reply(401, json!({"error": {"code": 401, "message": "The request you have made requires authentication."}}))
        }
        _ => None,
    })
    .await;
    let placement = placement(&server, &[]);
    let reason = unavailable(ask(&placement).await, "identity");
    assert!(reason.starts_with("the credentials of [placement] are refused: The request"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn an_ended_token_is_renewed_by_one_while_a_hundred_wait() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let entry = gate.clone();
    let server = Server::start(move |seen: Seen| {
        let entry = entry.clone();
        async move {
            let base = format!("http://{}", seen.header("host"));
            match (seen.what.as_str(), seen.number) {
                (LOGIN, 0) => Some(login(&base, 1, "2020-01-01T00:00:00Z")),
                (LOGIN, _) => {
                    entry.acquire().await.unwrap().forget();
                    None
                }
                (ASKED, _) => nothing(),
                _ => None,
            }
        }
    })
    .await;
    let placement = placement(&server, &[]);
    ask(&placement).await.unwrap();
    let hundred = join_all((0..100).map(|_| ask(&placement)));
    let open = async {
        while server.count(LOGIN) < 2 {
            tokio::task::yield_now().await;
        }
        // More than one login would wait here for ever.
        gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(hundred, open);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((server.count(LOGIN), server.count(ASKED)), (2, 101));
    assert!(server.seen().iter().rev().take(100).all(|seen| seen.token() == "service-2"));
}

#[tokio::test]
async fn a_service_that_is_unavailable_is_asked_again_as_often_as_is_said() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.number) {
        (ASKED, 2) => nothing(),
        (ASKED, _) => text(503, "<html><body>no backend</body></html>"),
        _ => None,
    })
    .await;
    assert_eq!(ask(&placement(&server, &[("placement", "status_code_retries = 2")])).await, Ok(Allocations::new()));
    assert_eq!(server.count(ASKED), 3);
    let down = Server::start(async |seen: Seen| if seen.what == ASKED { text(503, "no backend") } else { None }).await;
    let result = ask(&placement(&down, &[("placement", "status_code_retries = 2")])).await;
    assert_eq!(unavailable(result, "placement"), "HTTP 503: no backend");
    assert_eq!(down.count(ASKED), 3);
}

#[tokio::test]
async fn a_login_is_repeated_while_identity_is_unavailable() {
    let server = Server::start(async |seen: Seen| match (seen.what.as_str(), seen.number) {
        (LOGIN, 0) => text(503, "later"),
        (ASKED, _) => nothing(),
        _ => None,
    })
    .await;
    assert_eq!(ask(&placement(&server, &[])).await, Ok(Allocations::new()));
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn where_nobody_listens_the_service_is_unavailable() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::start(async |_| None).await;
    let at = format!("endpoint_override = http://{nobody}/placement");
    let reason = unavailable(ask(&placement(&server, &[("placement", &at)])).await, "placement");
    assert!(reason.starts_with(&format!("no connection ({nobody}): ")), "{reason}");
    let config = server.config(&[("placement", "auth_section = other")]);
    let error = HttpPlacement::from_config(&config, &mut Sessions::default()).err().unwrap();
    assert_eq!(error.to_string(), "[other] auth_type: is required; it must be password");
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_given_up() {
    let server = Server::start(async |seen: Seen| if seen.what == ASKED { never().await } else { None }).await;
    let reason = unavailable(ask(&placement(&server, &[("placement", "timeout = 0.2")])).await, "placement");
    assert!(reason.starts_with("no answer in time (127.0.0.1:"), "{reason}");
    assert_eq!(server.count(ASKED), 1);
}

#[tokio::test]
async fn a_catalog_without_the_service_is_said() {
    let server = Server::start(async |_| None).await;
    let options = [("placement", "region_name = Nowhere\nvalid_interfaces = public")];
    let reason = unavailable(ask(&placement(&server, &options)).await, "placement");
    assert_eq!(reason, "the catalog has no endpoint of type placement, interface public, region Nowhere");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_json_or_another_is_said() {
    for (body, expected) in [
        ("{\"allocations\":", "HTTP 200 OK with a body that is no JSON"),
        ("{\"allocations\": 7}", "an answer that makes no sense: invalid type: integer `7`, expected a map"),
    ] {
        let server =
            Server::start(move |seen: Seen| async move { if seen.what == ASKED { text(200, body) } else { None } })
                .await;
        assert_eq!(unavailable(ask(&placement(&server, &[])).await, "placement"), expected);
    }
    let server = Server::start(async |seen: Seen| if seen.what == LOGIN { text(201, "{}") } else { None }).await;
    assert_eq!(unavailable(ask(&placement(&server, &[])).await, "identity"), "a token without X-Subject-Token");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(async |_| nothing()).await;
    let target = elsewhere.url.clone();
    let server = Server::start(move |seen: Seen| {
        let target = target.clone();
        async move {
            (seen.what == ASKED).then(|| (StatusCode::FOUND, [("location", target)], "moved").into_response())
        }
    })
    .await;
    assert_eq!(unavailable(ask(&placement(&server, &[])).await, "placement"), "HTTP 302: moved");
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn the_request_id_travels_and_the_answers_comes_back() {
    let server = Server::start(async |seen: Seen| {
        let answer = (StatusCode::INTERNAL_SERVER_ERROR, [("x-openstack-request-id", "req-theirs")], "oops");
        (seen.what == ASKED).then(|| answer.into_response())
    })
    .await;
    let context = RequestContext { request_id: Some("req-ours".to_owned()), ..RequestContext::admin() };
    let result = placement(&server, &[]).allocations(&context, Uuid::nil()).await;
    assert_eq!(unavailable(result, "placement"), "HTTP 500: oops (req-theirs)");
    assert_eq!(server.seen()[1].header("x-openstack-request-id"), "req-ours");
}

#[tokio::test]
async fn the_callers_token_is_used_and_vouched_for_where_that_is_said() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "GET /network/v2.0/networks" => reply(200, json!({"networks": []})),
        _ => None,
    })
    .await;
    let context = RequestContext { auth_token: Some("user".to_owned()), ..RequestContext::new("u", "p") };
    clients(&server, &[]).network.available_networks(&context).await.unwrap();
    clients(&server, &[("service_user", "send_service_user_token = true")])
        .network
        .available_networks(&context)
        .await
        .unwrap();
    let seen = server.seen();
    let tokens: Vec<_> =
        seen.iter().filter(|seen| seen.what != LOGIN).map(|it| (it.token(), it.header("x-service-token"))).collect();
    assert_eq!(tokens, [("user", ""), ("user", ""), ("user", "service-2"), ("user", "service-2")]);
}

#[tokio::test]
async fn a_callers_refused_token_is_the_callers_business() {
    let networks = "GET /network/v2.0/networks";
    let server =
        Server::start(
            move |seen: Seen| async move { if seen.what == networks { reply(401, json!(null)) } else { None } },
        )
        .await;
    let context = RequestContext { auth_token: Some("user".to_owned()), ..RequestContext::new("u", "p") };
    let refused = clients(&server, &[]).network.available_networks(&context).await;
    assert_eq!(refused, Err(ClientError::Unauthorized));
    assert_eq!(server.count(LOGIN), 1);
}
