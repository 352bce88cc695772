//! The rows of the built-in image service.

use kilonova_db::DbError;
use kilonova_db::image::{self, Deletion, ImageRow, Properties, Scope, StoredData, Tags};
use uuid::Uuid;

use super::support::*;

fn row(visibility: &str, owner: Option<&str>) -> ImageRow {
    ImageRow {
        id: Uuid::new_v4(),
        name: Some("Ä 😀".into()),
        status: "saving".into(),
        visibility: visibility.into(),
        is_protected: false,
        is_hidden: false,
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        owner: owner.map(str::to_owned),
        size: None,
        virtual_size: None,
        container_format: Some("bare".into()),
        disk_format: Some("qcow2".into()),
        created_at: at(1),
        updated_at: at(2),
        min_disk: 1 << 40,
        min_ram: 0,
        tags: Tags(["a".to_owned(), "b".to_owned()].into()),
        properties: Properties([("hw_disk_bus".to_owned(), "virtio".to_owned())].into()),
    }
}

#[tokio::test]
async fn an_image_reads_back_whole_and_becomes_active_once() {
    on_database(async |db| {
        let given = row("private", Some(PROJECT));
        image::create(db, &given).await.unwrap();
        assert_exists(image::create(db, &given).await, "image", &given.id.to_string());
        assert_eq!(image::get(db, given.id).await.unwrap(), Some(given.clone()));
        let data = StoredData { size: 5 << 40, virtual_size: Some(7), checksum: "c".into(), sha512: "s".repeat(128) };
        assert!(image::activate(db, given.id, &data).await.unwrap());
        assert!(!image::activate(db, given.id, &data).await.unwrap());
        let active = image::get(db, given.id).await.unwrap().unwrap();
        let expected = ImageRow {
            status: "active".into(),
            size: Some(data.size),
            virtual_size: data.virtual_size,
            checksum: Some(data.checksum),
            os_hash_algo: Some("sha512".into()),
            os_hash_value: Some(data.sha512),
            updated_at: active.updated_at,
            ..given.clone()
        };
        assert_eq!(active, expected);
        assert!(image::set_status(db, given.id, &["active"], "deactivated").await.unwrap());
        assert!(!image::set_status(db, given.id, &["active"], "deactivated").await.unwrap());
        assert_eq!(image::delete(db, given.id).await.unwrap(), Deletion::Deleted);
        assert_eq!(image::delete(db, given.id).await.unwrap(), Deletion::Missing);
    })
    .await;
}

#[tokio::test]
async fn a_project_sees_its_own_images_and_what_is_offered_to_it() {
    on_database(async |db| {
        let (own, shared) = (row("private", Some("p")), row("shared", Some("q")));
        let (public, unowned, others) = (row("public", Some("q")), row("private", None), row("private", Some("P")));
        for row in [&own, &shared, &public, &unowned, &others] {
            image::create(db, row).await.unwrap();
        }
        let seen = async |scope: Scope<'_>| {
            let mut ids: Vec<Uuid> = image::list(db, scope).await.unwrap().iter().map(|row| row.id).collect();
            ids.sort_unstable();
            ids
        };
        let sorted = |rows: &[&ImageRow]| {
            let mut ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(seen(Scope::VisibleTo("p")).await, sorted(&[&own, &public]));
        assert_eq!(seen(Scope::Unowned).await, sorted(&[&unowned]));
        let offered = image::add_member(db, shared.id, "p").await.unwrap();
        assert_exists(image::add_member(db, shared.id, "p").await, "image member", "p");
        assert_eq!(image::list_members(db, shared.id).await.unwrap()[0].member, offered.member);
        assert_eq!(seen(Scope::VisibleTo("p")).await, sorted(&[&own, &public, &shared]));
        assert_eq!(image::set_member_status(db, shared.id, "p", "accepted").await.unwrap().status, "accepted");
        image::delete(db, shared.id).await.unwrap();
        assert_eq!(image::list_offers_to(db, "p").await.unwrap(), []);
        let gone = format!("{}/p", shared.id);
        assert_not_found(image::remove_member(db, shared.id, "p").await, "image member", &gone);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_image_at_once_all_last() {
    on_database(async |db| {
        let given = ImageRow { tags: Tags::default(), is_protected: true, ..row("private", Some(PROJECT)) };
        image::create(db, &given).await.unwrap();
        let changes = (0..16).map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                image::modify(&db, given.id, |row| {
                    row.tags.0.insert(format!("{number:02}"));
                    Ok::<_, DbError>(())
                })
                .await
            })
        });
        for changed in join_all(changes).await {
            assert!(changed.unwrap().is_some());
        }
        let expected = (0..16).map(|number| format!("{number:02}")).collect();
        assert_eq!(image::get(db, given.id).await.unwrap().unwrap().tags, Tags(expected));
        assert_eq!(image::delete(db, given.id).await.unwrap(), Deletion::Protected);
    })
    .await;
}
