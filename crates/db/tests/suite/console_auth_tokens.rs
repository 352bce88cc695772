//! Permissions to connect to consoles.

use kilonova_db::{Db, console_auth_tokens, instances};
use kilonova_objects::ConsoleAuthToken;
use uuid::Uuid;

use super::support::*;

fn console(instance_uuid: Uuid) -> ConsoleAuthToken {
    ConsoleAuthToken {
        console_type: "novnc".to_owned(),
        host: "host1".to_owned(),
        port: 5900,
        internal_access_path: Some("path".to_owned()),
        instance_uuid,
        access_url_base: Some("http://proxy/vnc_auto.html".to_owned()),
        ..ConsoleAuthToken::default()
    }
}

async fn permits(db: &Db, token: &str) -> Option<Uuid> {
    console_auth_tokens::validate(db, token).await.unwrap().map(|console| console.instance_uuid)
}

#[tokio::test]
async fn a_token_permits_what_it_was_made_for_until_it_ends() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        let made = console_auth_tokens::authorize(db, &console(uuid), 600).await.unwrap();
        let found = console_auth_tokens::validate(db, &made.token).await.unwrap().unwrap();
        let facts = |it: &ConsoleAuthToken| {
            (it.id, it.host.clone(), it.port, it.internal_access_path.clone(), it.instance_uuid, it.expires)
        };
        assert_eq!(facts(&found), facts(&made));
        assert_eq!(found.token, made.token);
        assert_eq!(permits(db, "another").await, None);

        let over = console_auth_tokens::authorize(db, &console(uuid), -1).await.unwrap();
        assert_eq!(permits(db, &over.token).await, None);
        console_auth_tokens::destroy_expired(db).await.unwrap();
        assert_eq!(permits(db, &made.token).await, Some(uuid));
        console_auth_tokens::destroy_all_by_instance(db, uuid).await.unwrap();
        assert_eq!(permits(db, &made.token).await, None);
    })
    .await;
}

#[tokio::test]
async fn permissions_go_with_their_instance() {
    on_database(async |db| {
        let gone = create_one(db, instance("gone")).await.uuid;
        let other = create_one(db, instance("other")).await.uuid;
        let of_gone = console_auth_tokens::authorize(db, &console(gone), 600).await.unwrap();
        let of_other = console_auth_tokens::authorize(db, &console(other), 600).await.unwrap();
        instances::destroy(db, gone).await.unwrap();
        assert_eq!(permits(db, &of_gone.token).await, None);
        assert_eq!(permits(db, &of_other.token).await, Some(other));
    })
    .await;
}
