//! Tables of network: trunks, which carry the traffic of other ports through one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::m0004_network::{reference, resource};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, trunks()).await?;
        super::create_table(manager, trunk_subports()).await?;
        let (name, table) = ("trunks_project", "trunks");
        super::create_index(manager, table, name, Index::create().name(name).table(table).col("project_id").to_owned())
            .await
    }
}

/// A port is the parent of one trunk at most, and stays while it is.
fn trunks() -> TableCreateStatement {
    resource("trunks")
        .col(string("name"))
        .col(boolean("admin_state_up"))
        .col(uuid_uniq("port_id"))
        .foreign_key(&mut reference("trunks", "port_id", "ports", ForeignKeyAction::Restrict))
        .to_owned()
}

/// A port is in one trunk at most, and stays while it is; in a trunk a tag means one port.
fn trunk_subports() -> TableCreateStatement {
    Table::create()
        .table("trunk_subports")
        .col(uuid("port_id").primary_key())
        .col(uuid("trunk_id"))
        .col(string_len("segmentation_type", 32))
        .col(integer("segmentation_id"))
        .foreign_key(&mut reference("trunk_subports", "port_id", "ports", ForeignKeyAction::Restrict))
        .foreign_key(&mut reference("trunk_subports", "trunk_id", "trunks", ForeignKeyAction::Cascade))
        .index(
            Index::create()
                .name("ux_trunk_subports_segment")
                .col("trunk_id")
                .col("segmentation_type")
                .col("segmentation_id")
                .unique(),
        )
        .to_owned()
}
