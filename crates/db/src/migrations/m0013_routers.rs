//! Tables of network: routers, floating addresses, topologies made by themselves; and which external network is the default.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::m0004_network::{reference, resource};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("networks", "is_default").await? {
            let mut networks = Table::alter();
            networks.table("networks").add_column(boolean("is_default").default(false));
            manager.alter_table(networks).await?;
        }
        super::create_table(manager, routers()).await?;
        super::create_table(manager, floating_ips()).await?;
        super::create_table(manager, auto_allocated_topologies()).await?;
        for (name, table, column) in INDEXES {
            let index = Index::create().name(name).table(table).col(column).to_owned();
            super::create_index(manager, table, name, index).await?;
        }
        Ok(())
    }
}

/// Name, table, column.
const INDEXES: [(&str, &str, &str); 3] = [
    ("routers_project", "routers", "project_id"),
    ("floating_ips_project", "floating_ips", "project_id"),
    ("floating_ips_router", "floating_ips", "router_id"),
];

/// What a router is connected to are ports.
fn routers() -> TableCreateStatement {
    resource("routers").col(string("name")).col(boolean("admin_state_up")).col(boolean("enable_snat")).to_owned()
}

/// The address is that of a port of its own. Where the fixed port goes, the floating address is free again.
fn floating_ips() -> TableCreateStatement {
    resource("floating_ips")
        .col(uuid("floating_network_id"))
        .col(uuid_uniq("floating_port_id"))
        .col(uuid_null("fixed_port_id"))
        .col(string_len_null("fixed_ip_address", 64))
        .col(uuid_null("router_id"))
        .foreign_key(&mut reference("floating_ips", "floating_port_id", "ports", ForeignKeyAction::Restrict))
        .foreign_key(&mut reference("floating_ips", "fixed_port_id", "ports", ForeignKeyAction::SetNull))
        .to_owned()
}

fn auto_allocated_topologies() -> TableCreateStatement {
    Table::create()
        .table("auto_allocated_topologies")
        .col(string("project_id").primary_key())
        .col(uuid("network_id"))
        .col(uuid("router_id"))
        .foreign_key(&mut reference("auto_allocated_topologies", "network_id", "networks", ForeignKeyAction::Cascade))
        .foreign_key(&mut reference("auto_allocated_topologies", "router_id", "routers", ForeignKeyAction::Cascade))
        .to_owned()
}
