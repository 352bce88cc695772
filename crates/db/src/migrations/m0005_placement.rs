//! Tables of placement: providers, inventories, consumers, allocations.
//!
//! ```text
//! resource_providers 1 ── n inventories      one row per resource class
//!         1
//!         └────────────── n allocations n ── 1 consumers
//! ```
//!
//! Traits are a column of their provider: they are always read, and replaced, as a whole. Resource classes are names, as
//! they are in the API.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, resource_providers()).await?;
        super::create_table(manager, inventories()).await?;
        super::create_table(manager, consumers()).await?;
        super::create_table(manager, allocations()).await?;
        super::create_index(manager, "allocations", "allocations_by_provider", allocations_by_provider()).await?;
        super::create_index(manager, "consumers", "consumers_by_project", consumers_by_project()).await
    }
}

fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(36).not_null().take()
}

fn name(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(255).not_null().take()
}

fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

fn instant(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).timestamp_with_time_zone().not_null().take()
}

fn resource_providers() -> TableCreateStatement {
    Table::create()
        .table("resource_providers")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(uuid("uuid").unique_key())
        .col(name("name").unique_key())
        .col(number("generation"))
        .col(ColumnDef::new("traits").text().not_null())
        .col(instant("created_at"))
        .col(instant("updated_at"))
        .take()
}

fn inventories() -> TableCreateStatement {
    Table::create()
        .table("inventories")
        .col(number("resource_provider_id"))
        .col(name("resource_class"))
        .col(number("total"))
        .col(number("reserved"))
        .col(number("min_unit"))
        .col(number("max_unit"))
        .col(number("step_size"))
        .col(ColumnDef::new("allocation_ratio").double().not_null())
        .primary_key(Index::create().col("resource_provider_id").col("resource_class"))
        .foreign_key(
            ForeignKey::create()
                .from("inventories", "resource_provider_id")
                .to("resource_providers", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn consumers() -> TableCreateStatement {
    Table::create()
        .table("consumers")
        .col(uuid("uuid").primary_key())
        .col(name("project_id"))
        .col(name("user_id"))
        .col(number("generation"))
        .col(instant("created_at"))
        .col(instant("updated_at"))
        .take()
}

fn allocations() -> TableCreateStatement {
    Table::create()
        .table("allocations")
        .col(uuid("consumer_uuid"))
        .col(number("resource_provider_id"))
        .col(name("resource_class"))
        .col(number("used"))
        .primary_key(Index::create().col("consumer_uuid").col("resource_provider_id").col("resource_class"))
        .foreign_key(ForeignKey::create().from("allocations", "resource_provider_id").to("resource_providers", "id"))
        .foreign_key(ForeignKey::create().from("allocations", "consumer_uuid").to("consumers", "uuid"))
        .take()
}

/// Usage is summed from this index alone, without a look at the rows.
fn allocations_by_provider() -> IndexCreateStatement {
    Index::create()
        .name("allocations_by_provider")
        .table("allocations")
        .col("resource_provider_id")
        .col("resource_class")
        .col("used")
        .col("consumer_uuid")
        .take()
}

fn consumers_by_project() -> IndexCreateStatement {
    Index::create().name("consumers_by_project").table("consumers").col("project_id").col("user_id").take()
}
