//! Tables of network: networks, subnets, ports, address allocations, security groups and their rules.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [networks(), subnets(), ports(), ip_allocations(), security_groups(), rules(), bindings()] {
            super::create_table(manager, table).await?;
        }
        for (name, table, columns, is_unique) in INDEXES {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            if is_unique {
                index.unique();
            }
            super::create_index(manager, table, name, index).await?;
        }
        Ok(())
    }
}

/// Name, table, columns, whether unique.
const INDEXES: [(&str, &str, &[&str], bool); 10] = [
    ("networks_project", "networks", &["project_id"], false),
    ("subnets_network", "subnets", &["network_id"], false),
    ("ports_project", "ports", &["project_id"], false),
    ("ports_device", "ports", &["device_id"], false),
    ("ports_network_mac", "ports", &["network_id", "mac_address"], true),
    ("ip_allocations_port", "ip_allocations", &["port_id"], false),
    ("security_groups_project", "security_groups", &["project_id"], false),
    ("security_group_rules_group", "security_group_rules", &["security_group_id"], false),
    ("security_group_rules_remote", "security_group_rules", &["remote_group_id"], false),
    ("port_security_groups_group", "port_security_groups", &["security_group_id"], false),
];

/// What every resource has.
pub(super) fn resource(name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(name)
        .col(uuid("id").primary_key())
        .col(string("project_id"))
        .col(string("description"))
        .col(big_integer("revision_number"))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .to_owned()
}

pub(super) fn reference(
    table: &'static str,
    column: &'static str,
    to: &'static str,
    on_delete: ForeignKeyAction,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_{column}"))
        .from(table, column)
        .to(to, "id")
        .on_delete(on_delete)
        .to_owned()
}

fn networks() -> TableCreateStatement {
    resource("networks")
        .col(string("name"))
        .col(boolean("admin_state_up"))
        .col(boolean("is_shared"))
        .col(boolean("is_external"))
        .col(boolean("port_security_enabled"))
        .col(integer("mtu"))
        .to_owned()
}

fn subnets() -> TableCreateStatement {
    resource("subnets")
        .col(uuid("network_id"))
        .col(string("name"))
        .col(integer("ip_version"))
        .col(string_len("cidr", 64))
        .col(string_len_null("gateway_ip", 64))
        .col(boolean("enable_dhcp"))
        .col(json("dns_nameservers"))
        .col(json("host_routes"))
        .col(json("allocation_pools"))
        .col(string_len_null("ipv6_address_mode", 16))
        .col(string_len_null("ipv6_ra_mode", 16))
        .foreign_key(&mut reference("subnets", "network_id", "networks", ForeignKeyAction::Cascade))
        .to_owned()
}

fn ports() -> TableCreateStatement {
    resource("ports")
        .col(uuid("network_id"))
        .col(string("name"))
        .col(string_len("mac_address", 32))
        .col(boolean("admin_state_up"))
        .col(string_len("status", 16))
        .col(string("device_id"))
        .col(string("device_owner"))
        .col(boolean("port_security_enabled"))
        .col(string("binding_host_id"))
        .col(string_len("binding_vnic_type", 64))
        .col(json("binding_profile"))
        .col(boolean("is_made_for_server"))
        .foreign_key(&mut reference("ports", "network_id", "networks", ForeignKeyAction::Restrict))
        .to_owned()
}

/// The address is kept as 32 hexadecimal digits, so that it sorts as a number in every database.
fn ip_allocations() -> TableCreateStatement {
    Table::create()
        .table("ip_allocations")
        .col(uuid("subnet_id"))
        .col(string_len("address", 32))
        .col(uuid("port_id"))
        .col(integer("position"))
        .primary_key(Index::create().col("subnet_id").col("address"))
        .foreign_key(&mut reference("ip_allocations", "subnet_id", "subnets", ForeignKeyAction::Restrict))
        .foreign_key(&mut reference("ip_allocations", "port_id", "ports", ForeignKeyAction::Cascade))
        .to_owned()
}

/// `default_for` is the project whose default group it is: unique, so that there is never a second one.
fn security_groups() -> TableCreateStatement {
    resource("security_groups").col(string("name")).col(string_uniq("default_for").null()).to_owned()
}

fn rules() -> TableCreateStatement {
    resource("security_group_rules")
        .col(uuid("security_group_id"))
        .col(string_len("direction", 16))
        .col(string_len("ethertype", 8))
        .col(string_len_null("protocol", 40))
        .col(integer_null("port_range_min"))
        .col(integer_null("port_range_max"))
        .col(string_len_null("remote_ip_prefix", 64))
        .col(uuid_null("remote_group_id"))
        .foreign_key(&mut reference(
            "security_group_rules",
            "security_group_id",
            "security_groups",
            ForeignKeyAction::Cascade,
        ))
        .foreign_key(&mut reference(
            "security_group_rules",
            "remote_group_id",
            "security_groups",
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}

fn bindings() -> TableCreateStatement {
    Table::create()
        .table("port_security_groups")
        .col(uuid("port_id"))
        .col(uuid("security_group_id"))
        .primary_key(Index::create().col("port_id").col("security_group_id"))
        .foreign_key(&mut reference("port_security_groups", "port_id", "ports", ForeignKeyAction::Cascade))
        .foreign_key(&mut reference(
            "port_security_groups",
            "security_group_id",
            "security_groups",
            ForeignKeyAction::Restrict,
        ))
        .to_owned()
}
