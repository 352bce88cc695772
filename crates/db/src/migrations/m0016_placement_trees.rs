//! Placement: trees of providers, aggregates, custom names as rows, consumer types.
//!
//! Parents and roots are named by uuid, which never changes, so that a provider's row says all that the API shows of
//! it. Aggregates are, like traits, a column of their provider. Custom classes and traits that are in use get rows.

use std::collections::BTreeSet;

use kilonova_core::time::utcnow;
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let text_uuid = |name: &'static str| ColumnDef::new(name).string_len(36).take();
        let providers = "resource_providers";
        super::add_column(manager, providers, "parent_provider_uuid", text_uuid("parent_provider_uuid")).await?;
        let root = text_uuid("root_provider_uuid").not_null().default("").take();
        super::add_column(manager, providers, "root_provider_uuid", root).await?;
        super::add_column(manager, providers, "aggregates", ColumnDef::new("aggregates").text().take()).await?;
        let revision = ColumnDef::new("revision").big_integer().not_null().default(0).take();
        super::add_column(manager, providers, "revision", revision).await?;
        let consumer_type = ColumnDef::new("consumer_type").string_len(255).take();
        super::add_column(manager, "consumers", "consumer_type", consumer_type).await?;
        let by_root =
            Index::create().name("resource_providers_by_root").table(providers).col("root_provider_uuid").take();
        super::create_index(manager, providers, "resource_providers_by_root", by_root).await?;
        super::create_table(manager, names("traits")).await?;
        super::create_table(manager, names("resource_classes")).await?;
        let everyone_is_a_root = Query::update()
            .table(providers)
            .value("root_provider_uuid", Expr::col("uuid"))
            .and_where(Expr::col("root_provider_uuid").eq(""))
            .take();
        manager.get_connection().execute(&everyone_is_a_root).await?;
        add_names(manager, "traits", (providers, "traits")).await?;
        add_names(manager, "resource_classes", ("inventories", "resource_class")).await
    }
}

fn names(table: &'static str) -> TableCreateStatement {
    Table::create()
        .table(table)
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("name").string_len(255).not_null().unique_key())
        .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
        .take()
}

/// Makes rows of the custom names in a column, which may hold several with commas between them.
async fn add_names(
    manager: &SchemaManager<'_>,
    table: &'static str,
    (from, column): (&'static str, &'static str),
) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let mut names = BTreeSet::new();
    let used = Query::select().distinct().column(column).from(from).take();
    for row in connection.query_all(&used).await? {
        let list: String = row.try_get_by_index(0)?;
        names.extend(list.split(',').filter(|name| name.starts_with("CUSTOM_")).map(str::to_owned));
    }
    for row in connection.query_all(&Query::select().column("name").from(table).take()).await? {
        names.remove(&row.try_get_by_index::<String>(0)?);
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut insert = Query::insert();
    insert.into_table(table).columns(["name", "created_at"]);
    for name in names {
        insert.values_panic([name.into(), utcnow().into()]);
    }
    connection.execute(&insert).await?;
    Ok(())
}
