//! Host aggregates with their hosts and metadata.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, aggregates()).await?;
        super::create_table(manager, of_aggregate("aggregate_hosts", "host", None)).await?;
        super::create_table(manager, of_aggregate("aggregate_metadata", "key", Some("value"))).await
    }
}

fn name(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(255).not_null().take()
}

fn aggregates() -> TableCreateStatement {
    Table::create()
        .table("aggregates")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("uuid").string_len(36).not_null().unique_key())
        .col(name("name").unique_key())
        .col(ColumnDef::new("turns").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .col(ColumnDef::new("updated_at").big_integer().null())
        .take()
}

fn of_aggregate(table: &'static str, key: &'static str, value: Option<&'static str>) -> TableCreateStatement {
    let mut create = Table::create();
    create
        .table(table)
        .col(ColumnDef::new("aggregate_id").big_integer().not_null())
        .col(name(key))
        .primary_key(Index::create().col("aggregate_id").col(key));
    if let Some(value) = value {
        create.col(name(value));
    }
    create
}
