//! Consoles, as a browser opens them.

use serde_json::json;

use crate::cloud::TestCloud;
use crate::common::User;
use crate::console::{Console, web_socket_of};

async fn boot(user: &User) -> String {
    let server = user.boot(&user.server("looked-at", json!("none")).await).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    server["id"].as_str().expect("an id").to_owned()
}

async fn url(user: &User, id: &str, protocol: &str, kind: &str) -> String {
    let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
    let (status, console) = user.post(&format!("/compute/v2.1/servers/{id}/remote-consoles"), &body).await;
    assert!(status.is_success(), "{console}");
    console["remote_console"]["url"].as_str().expect("an address").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_is_seen_once_by_who_has_the_token() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await.at("2.96");
    let id = boot(&user).await;
    let page = url(&user, &id, "vnc", "novnc").await;
    let html = reqwest::get(&page).await.expect("a page").text().await.expect("text");
    assert!(html.contains("noVNC") && html.contains("<script"), "{html}");

    let socket = web_socket_of(&page);
    let own = format!("http://{}", socket.split('/').nth(2).expect("a host"));
    let mut console = Console::open(&socket, Some(&own)).await;
    assert!(console.greet_screen().await.starts_with("instance-"));
    // The whole screen, and nothing more until something changes.
    console.say(&[3, 0, 0, 0, 0, 0, 0, 32, 0, 24]).await;
    let mut bytes = 0;
    while bytes < 16 + 32 * 24 * 4 {
        bytes += console.hear().await.expect("the screen").len();
    }
    assert_eq!(bytes, 16 + 32 * 24 * 4);
    assert!(Console::open(&socket, Some(&own)).await.hear().await.is_none(), "a token is good once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_sees_it() {
    let cloud = TestCloud::with_config("[console]\nallowed_origins = friend.example\n").await;
    let user = cloud.user("demo").await.at("2.96");
    let id = boot(&user).await;
    let page = url(&user, &id, "vnc", "novnc").await;
    let socket = web_socket_of(&page);
    for (wrong, origin) in [
        (socket.replace("token=", "token=bad"), None),
        (socket.split('?').next().expect("a path").to_owned(), None),
        (socket.clone(), Some("http://evil.example")),
        (socket.clone(), Some("https://friend.example")),
    ] {
        assert!(Console::open(&wrong, origin).await.hear().await.is_none(), "{wrong} from {origin:?}");
    }
    // None of them has used the token up.
    let mut console = Console::open(&socket, Some("http://friend.example")).await;
    console.greet_screen().await;

    let late = web_socket_of(&url(&user, &id, "vnc", "novnc").await);
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, 204);
    user.wait_gone(&id).await;
    assert!(Console::open(&late, None).await.hear().await.is_none(), "the server is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serial_port_says_what_it_has_said_and_listens() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await.at("2.96");
    let id = boot(&user).await;
    let mut console = Console::open(&url(&user, &id, "serial", "serial").await, None).await;
    console.say(b"hello").await;
    assert!(console.hear_until("hello").await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_open_ends_with_its_token_where_the_operator_wants_that() {
    let cloud = TestCloud::with_config("[consoleauth]\ntoken_ttl = 8\nenforce_session_timeout = true\n").await;
    let user = cloud.user("demo").await.at("2.96");
    let id = boot(&user).await;
    let mut console = Console::open(&url(&user, &id, "serial", "serial").await, None).await;
    console.say(b"hello").await;
    console.hear_until("hello").await;
    // Nobody says anything any more: the end comes by itself.
    assert!(console.hear().await.is_none());
}
