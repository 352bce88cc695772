//! Tables of image: images with their tags and properties as JSON, and the projects that shared images are offered to.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(
            manager,
            Table::create()
                .table("images")
                .col(uuid("id").primary_key())
                .col(string_null("name"))
                .col(string_len("status", 30))
                .col(string_len("visibility", 20))
                .col(boolean("is_protected"))
                .col(boolean("is_hidden"))
                .col(string_len_null("checksum", 32))
                .col(string_len_null("os_hash_algo", 64))
                .col(string_len_null("os_hash_value", 128))
                .col(string_null("owner"))
                .col(big_integer_null("size"))
                .col(big_integer_null("virtual_size"))
                .col(string_len_null("container_format", 20))
                .col(string_len_null("disk_format", 20))
                .col(timestamp_with_time_zone("created_at"))
                .col(timestamp_with_time_zone("updated_at"))
                .col(big_integer("min_disk"))
                .col(big_integer("min_ram"))
                .col(json("tags"))
                .col(json("properties"))
                .to_owned(),
        )
        .await?;
        let index = Index::create().name("images_owner").table("images").col("owner").to_owned();
        super::create_index(manager, "images", "images_owner", index).await?;
        super::create_table(
            manager,
            Table::create()
                .table("image_members")
                .col(uuid("image_id"))
                .col(string("member"))
                .col(string_len("status", 20))
                .col(timestamp_with_time_zone("created_at"))
                .col(timestamp_with_time_zone("updated_at"))
                .primary_key(Index::create().col("image_id").col("member"))
                .foreign_key(
                    ForeignKey::create()
                        .name("image_members_image")
                        .from("image_members", "image_id")
                        .to("images", "id")
                        .on_delete(ForeignKeyAction::Cascade),
                )
                .to_owned(),
        )
        .await?;
        let index = Index::create().name("image_members_member").table("image_members").col("member").to_owned();
        super::create_index(manager, "image_members", "image_members_member", index).await
    }
}
