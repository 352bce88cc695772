//! Permissions to connect to consoles.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tokens = Table::create()
            .table("console_auth_tokens")
            .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
            // SHA-256 in hexadecimal digits.
            .col(ColumnDef::new("token_hash").string_len(64).not_null().unique_key())
            .col(ColumnDef::new("console_type").string_len(255).not_null())
            .col(ColumnDef::new("host").string_len(255).not_null())
            .col(ColumnDef::new("port").big_integer().not_null())
            .col(ColumnDef::new("tls_port").big_integer().null())
            .col(ColumnDef::new("internal_access_path").string_len(255).null())
            .col(ColumnDef::new("instance_uuid").string_len(36).not_null())
            .col(ColumnDef::new("access_url_base").string_len(255).null())
            // Seconds since 1970.
            .col(ColumnDef::new("expires").big_integer().not_null())
            .col(ColumnDef::new("created_at").big_integer().null())
            .col(ColumnDef::new("updated_at").big_integer().null())
            .take();
        super::create_table(manager, tokens).await?;
        let by_instance = Index::create()
            .name("console_auth_tokens_instance_uuid_idx")
            .table("console_auth_tokens")
            .col("instance_uuid")
            .take();
        super::create_index(manager, "console_auth_tokens", "console_auth_tokens_instance_uuid_idx", by_instance)
            .await?;
        let by_end =
            Index::create().name("console_auth_tokens_expires_idx").table("console_auth_tokens").col("expires").take();
        super::create_index(manager, "console_auth_tokens", "console_auth_tokens_expires_idx", by_end).await
    }
}
