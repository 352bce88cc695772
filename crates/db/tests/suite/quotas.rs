//! Limits of projects, their users, and classes.

use std::collections::BTreeMap;

use kilonova_db::quotas;

use super::support::*;

fn limits(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(resource, limit)| ((*resource).to_owned(), *limit)).collect()
}

#[tokio::test]
async fn limits_are_kept_apart_by_project_user_and_class() {
    on_database(async |db| {
        assert_eq!(quotas::project(db, "p").await.unwrap(), limits(&[]));
        quotas::set_project(db, "p", &limits(&[("cores", 4), ("ram", -1)])).await.unwrap();
        quotas::set_project(db, "p", &limits(&[("cores", 8)])).await.unwrap();
        quotas::set_project_user(db, "p", "u", &limits(&[("cores", 2)])).await.unwrap();
        quotas::set_class(db, "default", &limits(&[("cores", 100)])).await.unwrap();
        quotas::set_project(db, "q", &limits(&[("cores", 1)])).await.unwrap();
        assert_eq!(quotas::project(db, "p").await.unwrap(), limits(&[("cores", 8), ("ram", -1)]));
        assert_eq!(quotas::project_user(db, "p", "u").await.unwrap(), limits(&[("cores", 2)]));
        assert_eq!(quotas::project_user(db, "q", "u").await.unwrap(), limits(&[]));
        assert_eq!(quotas::class(db, "default").await.unwrap(), limits(&[("cores", 100)]));
        quotas::set_project(db, "p", &limits(&[])).await.unwrap();
        assert_eq!(quotas::project(db, "p").await.unwrap().len(), 2, "nothing to set");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_quota_takes_those_of_the_users_along() {
    on_database(async |db| {
        for user in ["u", "v"] {
            quotas::set_project_user(db, "p", user, &limits(&[("cores", 2)])).await.unwrap();
        }
        quotas::set_project(db, "p", &limits(&[("cores", 8)])).await.unwrap();
        quotas::set_project(db, "q", &limits(&[("cores", 1)])).await.unwrap();
        quotas::delete_project_user(db, "p", "u").await.unwrap();
        assert_eq!(quotas::project_user(db, "p", "u").await.unwrap(), limits(&[]));
        assert_eq!(quotas::project(db, "p").await.unwrap(), limits(&[("cores", 8)]));
        quotas::delete_project(db, "p").await.unwrap();
        assert_eq!(quotas::project(db, "p").await.unwrap(), limits(&[]));
        assert_eq!(quotas::project_user(db, "p", "v").await.unwrap(), limits(&[]));
        assert_eq!(quotas::project(db, "q").await.unwrap(), limits(&[("cores", 1)]));
    })
    .await;
}
