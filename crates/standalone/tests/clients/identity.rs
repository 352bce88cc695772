//! Who has a token, as the built-in identity service says it.

use kilonova_clients::ClientError;
use kilonova_clients::identity::Identity as _;

use crate::cloud::{Cloud, token};

crate::suite! {
    a_token_says_who_where_and_what,
    what_is_no_token_is_unauthorized,
    a_project_is_there_or_not,
}

async fn a_token_says_who_where_and_what(cloud: Cloud) {
    for (user, project) in [("demo", "demo"), ("admin", "admin"), ("nova", "service")] {
        let token = cloud.token(user, project).await;
        let info = cloud.identity.validate(&token).await.unwrap();
        assert_eq!((info.user_name.as_str(), info.project_name.as_deref()), (user, Some(project)));
        assert_eq!(info.catalog.len(), 5);
        assert_eq!(*info, *cloud.builtin.identity.validate(&token).await.unwrap());
    }
}

async fn what_is_no_token_is_unauthorized(cloud: Cloud) {
    let broken: String = cloud.token("demo", "demo").await.chars().rev().collect();
    for token in ["", "pony", "two words", "gAAAAA", "line\nbreak", "ü", &broken] {
        let refused = cloud.identity.validate(token).await;
        assert_eq!(refused, Err(ClientError::Unauthorized), "{token:?}");
    }
}

async fn a_project_is_there_or_not(cloud: Cloud) {
    assert_eq!(cloud.identity.project_exists(&cloud.ids.demo_project_id).await, Ok(true));
    assert_eq!(cloud.identity.project_exists("pony").await, Ok(false));
}

#[tokio::test]
async fn over_http_a_revoked_token_is_refused_as_soon_as_the_cache_allows() {
    for (options, is_known) in [("token_cache_time = -1", false), ("token_cache_time = 300", true)] {
        let cloud = Cloud::over_http(options).await;
        let context = cloud.demo().await;
        let subject = token(&context);
        cloud.identity.validate(subject).await.unwrap();
        let admin = cloud.token("admin", "admin").await;
        let request = axum::http::Request::builder().method("DELETE").uri("/identity/v3/auth/tokens");
        let request = request.header("x-auth-token", admin).header("x-subject-token", subject);
        assert_eq!(cloud.send(request.body(axum::body::Body::empty()).unwrap()).await.status, 204);
        let after = cloud.identity.validate(subject).await;
        assert_eq!(after.is_ok(), is_known, "{options}: {after:?}");
    }
}
