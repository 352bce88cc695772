//! What Nova had once.

use serde_json::json;

use super::cloud::{ADMIN, Cloud, NOBODY};
use crate::routes::{ROUTES, Verb};

const SENTENCE: &str = "This resource is no longer available.  No forwarding address is given.";

#[tokio::test]
async fn what_is_gone_is_410_in_every_version_whoever_asks() {
    let cloud = Cloud::new().await;
    let mut count = 0;
    for route in ROUTES.iter().filter(|route| route.is_gone) {
        let path = format!("/v2.1{}", route.path.replace(['{', '}'], ""));
        let has_body = matches!(route.method, Verb::Post | Verb::Put);
        let body = has_body.then(|| route.action.map_or_else(|| json!({}), |action| json!({action: null})).to_string());
        for (token, version) in [(ADMIN, "2.1"), (NOBODY, "2.104")] {
            let reply = cloud.send(route.method.as_str(), Some(token), version, &path, body.as_deref()).await;
            reply.expect_fault(410, "computeFault", SENTENCE);
        }
        count += 1;
    }
    assert!(count >= 26, "{count}");
}
