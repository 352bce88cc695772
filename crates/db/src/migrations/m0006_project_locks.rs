//! A row per project that has created servers: who checks the project's quota locks it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("project_locks")
            .col(ColumnDef::new("project_id").string_len(255).not_null().primary_key())
            .col(ColumnDef::new("turns").big_integer().not_null())
            .take();
        super::create_table(manager, table).await
    }
}
