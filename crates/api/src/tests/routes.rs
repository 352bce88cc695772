//! What every row of the route table must have.

use super::cloud::Cloud;
use crate::dispatch::Table;
use crate::policy::Policy;
use crate::routes::{NO_RULE, ROUTES, Verb};
use crate::versions::{LEGACY, MAX_VERSION, MIN_VERSION};
use kilonova_core::Microversion;

/// Every microversion, and the legacy API.
fn versions() -> impl Iterator<Item = Microversion> {
    std::iter::once(LEGACY).chain((MIN_VERSION.minor..=MAX_VERSION.minor).map(|minor| Microversion::new(2, minor)))
}

#[test]
fn every_route_has_a_policy_rule_that_exists() {
    let policy = Policy::defaults();
    for route in ROUTES {
        assert!(
            route.policy == NO_RULE || policy.has(route.policy),
            "{} {} {:?}",
            route.method.as_str(),
            route.path,
            route.action
        );
    }
}

#[test]
fn every_route_that_takes_a_body_has_one_schema_for_every_version_it_exists_in() {
    for route in ROUTES.iter().filter(|route| matches!(route.method, Verb::Post | Verb::Put)) {
        for version in versions().filter(|version| route.exists_in(*version)) {
            let schemas = route.body.iter().filter(|schema| (schema.from..=schema.to).contains(&version)).count();
            assert_eq!(schemas, 1, "{} {} {:?} in {version}", route.method.as_str(), route.path, route.action);
        }
    }
}

#[test]
fn query_schemas_do_not_overlap_and_leave_no_gap() {
    for route in ROUTES.iter().filter(|route| !route.query.is_empty()) {
        for version in versions().skip(1).filter(|version| route.exists_in(*version)) {
            let schemas = route.query.iter().filter(|schema| (schema.from..=schema.to).contains(&version)).count();
            assert_eq!(schemas, 1, "{} {} in {version}", route.method.as_str(), route.path);
        }
    }
}

#[test]
fn every_schema_compiles() {
    let table = Table::new(ROUTES);
    for entry in table.entries() {
        for version in versions() {
            let _ = (entry.body_schema(version), entry.query_schema(version));
        }
    }
}

#[test]
fn no_two_rows_are_the_same_operation() {
    let mut seen = std::collections::BTreeSet::new();
    for route in ROUTES {
        let key = (route.method.as_str(), route.path, route.action);
        assert!(seen.insert(key), "{key:?}");
    }
}

#[tokio::test]
async fn every_route_answers_401_without_a_token_and_with_a_bad_one() {
    let cloud = Cloud::new().await;
    for route in ROUTES {
        let path = format!("/v2.1{}", route.path.replace(['{', '}'], ""));
        for token in [None, Some("expired")] {
            let reply = cloud.send(route.method.as_str(), token, "", &path, None).await;
            assert_eq!(reply.status, 401, "{} {path}", route.method.as_str());
            assert_eq!(reply.body["error"]["title"], "Unauthorized");
            assert_eq!(reply.header("www-authenticate"), "Keystone uri=\"http://cloud:8774/identity\"");
        }
    }
}
