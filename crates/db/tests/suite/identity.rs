//! The rows of the built-in identity service.

use kilonova_db::identity::assignments::{self, Assignment, AssignmentFilter, Target};
use kilonova_db::identity::domains::{self, Domain, DomainFilter};
use kilonova_db::identity::projects::{self, Project, ProjectFilter};
use kilonova_db::identity::roles::{self, ImpliedRole, Role};
use kilonova_db::identity::users::{self, User, UserFilter};
use kilonova_db::identity::{Resource, lock, revocations};
use kilonova_db::{Db, DbError};
use serde_json::json;

use super::support::*;

fn domain(id: &str) -> Domain {
    let (options, extra) = (json!({"immutable": true}), json!({"note": "ä"}));
    Domain { id: id.into(), name: format!("name of {id}"), description: String::new(), enabled: true, options, extra }
}

fn project(id: &str, domain_id: &str) -> Project {
    Project {
        id: id.into(),
        domain_id: domain_id.into(),
        parent_id: None,
        name: format!("name of {id}"),
        description: "d".repeat(70_000),
        enabled: true,
        tags: json!(["a", "b"]),
        options: json!({}),
        extra: json!({}),
    }
}

fn user(id: &str, domain_id: &str) -> User {
    User {
        id: id.into(),
        domain_id: domain_id.into(),
        name: format!("name of {id}"),
        password_hash: Some("$argon2id$".into()),
        enabled: false,
        default_project_id: Some("p".into()),
        token_generation: 3,
        options: json!({}),
        extra: json!({"email": "a@example.org"}),
    }
}

fn role(id: &str) -> Role {
    Role { id: id.into(), name: format!("name of {id}"), description: None, options: json!({}), extra: json!({}) }
}

/// A domain `d` with the project `p`, the user `u` and the roles `r` and `s`.
async fn fill(db: &Db) {
    let tx = db.begin().await.unwrap();
    domains::create(&tx, domain("d")).await.unwrap();
    projects::create(&tx, project("p", "d")).await.unwrap();
    users::create(&tx, user("u", "d")).await.unwrap();
    roles::create(&tx, role("r")).await.unwrap();
    roles::create(&tx, role("s")).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn everything_reads_back_as_it_was_written() {
    on_database(async |db| {
        fill(db).await;
        let conn = db.read();
        assert_eq!(domains::fetch(conn, "d").await.unwrap(), domain("d"));
        assert_eq!(domains::fetch_by_name(conn, "name of d").await.unwrap(), domain("d"));
        assert_eq!(projects::fetch(conn, "p").await.unwrap(), project("p", "d"));
        assert_eq!(projects::fetch_by_name(conn, "d", "name of p").await.unwrap(), project("p", "d"));
        assert_eq!(users::fetch(conn, "u").await.unwrap(), user("u", "d"));
        assert_eq!(users::fetch_by_name(conn, "d", "name of u").await.unwrap(), user("u", "d"));
        assert_eq!(roles::list(conn, None).await.unwrap(), [role("r"), role("s")]);
        let disabled = UserFilter { enabled: Some(false), ..UserFilter::default() };
        assert_eq!(users::list(conn, &disabled).await.unwrap(), [user("u", "d")]);
        let none = DomainFilter { enabled: Some(false), ..DomainFilter::default() };
        assert_eq!(domains::list(conn, &none).await.unwrap(), []);
        let by_id = ProjectFilter { ids: Some(vec!["p".into(), "q".into()]), ..ProjectFilter::default() };
        assert_eq!(projects::list(conn, &by_id).await.unwrap(), [project("p", "d")]);
        assert_not_found(users::fetch_by_name(conn, "d", "Name of u").await, "user", "Name of u");
    })
    .await;
}

#[tokio::test]
async fn a_name_is_there_once_in_its_domain() {
    on_database(async |db| {
        fill(db).await;
        let again = async |what: &str| {
            let tx = db.begin().await.unwrap();
            let name = format!("name of {what}");
            match what {
                "d" => domains::create(&tx, Domain { name, ..domain("d2") }).await,
                "p" => projects::create(&tx, Project { name, ..project("p2", "d") }).await,
                "u" => users::create(&tx, User { name, ..user("u2", "d") }).await,
                _ => roles::update(&tx, Role { name, ..role("s") }).await,
            }
        };
        for (what, resource) in [("d", "domain"), ("p", "project"), ("u", "user"), ("r", "role")] {
            assert_exists(again(what).await, resource, &format!("name of {what}"));
        }
        let tx = db.begin().await.unwrap();
        assert_not_found(users::update(&tx, user("nobody", "d")).await, "user", "name of nobody");
    })
    .await;
}

#[tokio::test]
async fn grants_and_implications_are_there_once_and_go_with_their_ends() {
    on_database(async |db| {
        fill(db).await;
        let on = |target: Target| Assignment { user_id: "u".into(), role_id: "r".into(), target };
        let (on_project, on_domain) = (on(Target::Project("p".into())), on(Target::Domain("d".into())));
        let tx = db.begin().await.unwrap();
        for assignment in [&on_project, &on_domain, &on(Target::System), &on_project] {
            assignments::grant(&tx, assignment.clone()).await.unwrap();
        }
        let implication = ImpliedRole { prior_role_id: "r".into(), implied_role_id: "s".into() };
        for _ in 0..2 {
            roles::imply(&tx, implication.clone()).await.unwrap();
        }
        tx.commit().await.unwrap();
        let all = AssignmentFilter::default();
        let listed = assignments::list(db.read(), &all).await.unwrap();
        assert_eq!(listed, [on_domain.clone(), on_project.clone(), on(Target::System)]);
        assert_eq!(roles::implications(db.read()).await.unwrap(), [implication]);

        let tx = db.begin().await.unwrap();
        assert!(assignments::revoke(&tx, on(Target::System)).await.unwrap());
        assert!(!assignments::revoke(&tx, on(Target::System)).await.unwrap());
        projects::delete(&tx, "p").await.unwrap();
        roles::delete(&tx, "s").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(assignments::list(db.read(), &all).await.unwrap(), [on_domain]);
        assert_eq!(roles::implications(db.read()).await.unwrap(), []);
        assert_eq!(users::fetch(db.read(), "u").await.unwrap().default_project_id, None);

        let tx = db.begin().await.unwrap();
        domains::delete(&tx, "d").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(assignments::list(db.read(), &all).await.unwrap(), []);
        assert_not_found(users::fetch(db.read(), "u").await, "user", "u");
    })
    .await;
}

#[tokio::test]
async fn revoked_tokens_are_kept_until_they_have_expired() {
    on_database(async |db| {
        let tx = db.begin().await.unwrap();
        for (audit_id, expires_at) in [("a", 10), ("b", 20), ("a", 10)] {
            revocations::revoke(&tx, audit_id, expires_at).await.unwrap();
        }
        revocations::purge(&tx, 11).await.unwrap();
        tx.commit().await.unwrap();
        let is_revoked =
            async |audit_id: &str| revocations::is_revoked(db.read(), &[audit_id.to_owned()]).await.unwrap();
        assert_eq!((is_revoked("a").await, is_revoked("b").await, is_revoked("B").await), (false, true, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_user_at_once_all_last() {
    on_database(async |db| {
        fill(db).await;
        let changes = (0..16).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.retry(|| async {
                    let tx = db.begin().await?;
                    lock(&tx, Resource::User, "u").await?;
                    let user = users::fetch(&tx, "u").await?;
                    users::update(&tx, User { token_generation: user.token_generation + 1, ..user }).await?;
                    tx.commit().await
                })
                .await
            })
        });
        let changed: Vec<Result<(), DbError>> = join_all(changes).await;
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
        assert_eq!(users::fetch(db.read(), "u").await.unwrap().token_generation, 3 + 16);
    })
    .await;
}
