//! Tables of compute: instances, flavors, key pairs, services, hypervisors, quotas, actions, workflows.
//!
//! Names are Nova's. Columns that end in `_at`, `_time` or `_until` hold microseconds since 1970 (UTC), uuids their
//! text, `record` and other long texts JSON.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            super::create_table(manager, table).await?;
        }
        for (table, columns, is_unique) in INDEXES {
            let name = format!("{table}_{}_idx", columns.join("_"));
            let mut index = Index::create();
            index.name(&name).table(table);
            for column in columns {
                index.col(*column);
            }
            if is_unique {
                index.unique();
            }
            super::create_index(manager, table, &name, index).await?;
        }
        Ok(())
    }
}

/// Length of a name, an id of another service, a host.
const NAME: u32 = 255;
/// Length of a uuid's text.
const UUID: u32 = 36;

fn tables() -> Vec<TableCreateStatement> {
    vec![
        flavors(),
        flavor_extra_specs(),
        flavor_projects(),
        key_pairs(),
        instances(),
        instance_metadata(),
        block_device_mapping(),
        request_specs(),
        instance_faults(),
        instance_actions(),
        instance_actions_events(),
        services(),
        compute_nodes(),
        quotas(),
        quota_classes(),
        workflows(),
    ]
}

/// Table, columns, whether unique.
const INDEXES: [(&str, &[&str], bool); 19] = [
    ("flavors", &["flavorid"], true),
    ("flavors", &["name"], true),
    ("key_pairs", &["user_id", "name"], true),
    ("instances", &["uuid"], true),
    // What a page of servers is read by: of a project, of all, of a host.
    ("instances", &["project_id", "deleted", "created_at"], false),
    ("instances", &["deleted", "created_at"], false),
    ("instances", &["host", "deleted"], false),
    ("instances", &["reservation_id"], false),
    // Holds all that the quota check sums up.
    ("instances", &["project_id", "deleted", "hidden", "user_id", "vcpus", "memory_mb"], false),
    ("block_device_mapping", &["instance_uuid"], false),
    ("instance_faults", &["instance_uuid"], false),
    ("instance_actions", &["instance_uuid", "request_id"], false),
    ("instance_actions_events", &["action_id"], false),
    ("services", &["uuid"], true),
    ("services", &["host", "binary"], true),
    ("compute_nodes", &["uuid"], true),
    ("compute_nodes", &["host", "hypervisor_hostname"], true),
    ("workflows", &["kind", "instance_uuid"], true),
    ("workflows", &["lease_until"], false),
];

fn table(name: &'static str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    for column in columns {
        table.col(column);
    }
    table
}

fn with_key(name: &'static str, columns: Vec<ColumnDef>, key: &[&'static str]) -> TableCreateStatement {
    let mut primary = Index::create();
    for column in key {
        primary.col(*column);
    }
    table(name, columns).primary_key(&mut primary).take()
}

fn id() -> ColumnDef {
    ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key().take()
}

fn int(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

fn int_null(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().null().take()
}

fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

fn float_null(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).double().null().take()
}

fn name(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(NAME).not_null().take()
}

fn name_null(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(NAME).null().take()
}

fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(UUID).not_null().take()
}

fn text(name: &'static str) -> ColumnDef {
    long_text(name).not_null().take()
}

fn text_null(name: &'static str) -> ColumnDef {
    long_text(name).null().take()
}

fn long_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().take()
}

fn flavors() -> TableCreateStatement {
    table(
        "flavors",
        vec![
            id(),
            name("flavorid"),
            name("name"),
            int("memory_mb"),
            int("vcpus"),
            int("root_gb"),
            int("ephemeral_gb"),
            int("swap"),
            float_null("rxtx_factor"),
            int_null("vcpu_weight"),
            flag("disabled"),
            flag("is_public"),
            text_null("description"),
            int("created_at"),
            int_null("updated_at"),
        ],
    )
}

fn flavor_extra_specs() -> TableCreateStatement {
    let columns = vec![int("flavor_id"), name("key"), text_null("value")];
    with_key("flavor_extra_specs", columns, &["flavor_id", "key"])
}

fn flavor_projects() -> TableCreateStatement {
    let columns = vec![int("flavor_id"), name("project_id")];
    with_key("flavor_projects", columns, &["flavor_id", "project_id"])
}

fn key_pairs() -> TableCreateStatement {
    table(
        "key_pairs",
        vec![
            id(),
            name("user_id"),
            name("name"),
            name_null("fingerprint"),
            text_null("public_key"),
            name("type"),
            int("created_at"),
            int_null("updated_at"),
        ],
    )
}

/// `record`, `shared` and `network_info` hold an instance; the other columns repeat what SQL needs of it. The long texts
/// are last: what a filter or a sum needs is then on the row's first page.
fn instances() -> TableCreateStatement {
    table(
        "instances",
        vec![
            id(),
            uuid("uuid"),
            name_null("project_id"),
            name_null("user_id"),
            int("created_at"),
            int_null("updated_at"),
            int_null("deleted_at"),
            flag("deleted"),
            flag("hidden"),
            name("vm_state"),
            name_null("task_state"),
            int("power_state"),
            name_null("host"),
            name_null("node"),
            int_null("memory_mb"),
            int_null("vcpus"),
            int_null("instance_type_id"),
            name_null("flavorid"),
            name_null("image_ref"),
            name_null("kernel_id"),
            name_null("ramdisk_id"),
            name_null("hostname"),
            int_null("launch_index"),
            name_null("key_name"),
            name_null("reservation_id"),
            int_null("launched_at"),
            int_null("terminated_at"),
            name_null("availability_zone"),
            name_null("display_name"),
            text_null("display_description"),
            flag("locked"),
            name_null("locked_by"),
            name_null("root_device_name"),
            name_null("config_drive"),
            name_null("access_ip_v4"),
            name_null("access_ip_v6"),
            flag("auto_disk_config"),
            int_null("progress"),
            text("shared"),
            text_null("network_info"),
            text("record"),
        ],
    )
}

/// For the metadata filter: the instance has its metadata in `record` too.
fn instance_metadata() -> TableCreateStatement {
    let columns = vec![uuid("instance_uuid"), name("key"), text("value")];
    with_key("instance_metadata", columns, &["instance_uuid", "key"])
}

fn block_device_mapping() -> TableCreateStatement {
    table(
        "block_device_mapping",
        vec![id(), uuid("uuid"), uuid("instance_uuid"), int("created_at"), int_null("updated_at"), text("record")],
    )
}

fn request_specs() -> TableCreateStatement {
    let columns = vec![uuid("instance_uuid"), text("spec"), int("created_at"), int_null("updated_at")];
    with_key("request_specs", columns, &["instance_uuid"])
}

fn instance_faults() -> TableCreateStatement {
    table(
        "instance_faults",
        vec![
            id(),
            uuid("instance_uuid"),
            int("code"),
            text_null("message"),
            text_null("details"),
            name_null("host"),
            int("created_at"),
        ],
    )
}

fn instance_actions() -> TableCreateStatement {
    table(
        "instance_actions",
        vec![
            id(),
            uuid("instance_uuid"),
            name_null("action"),
            name_null("request_id"),
            name_null("user_id"),
            name_null("project_id"),
            int_null("start_time"),
            int_null("finish_time"),
            name_null("message"),
            int("created_at"),
            int_null("updated_at"),
        ],
    )
}

fn instance_actions_events() -> TableCreateStatement {
    table(
        "instance_actions_events",
        vec![
            id(),
            int("action_id"),
            name_null("event"),
            int_null("start_time"),
            int_null("finish_time"),
            name_null("result"),
            text_null("traceback"),
            name_null("host"),
            text_null("details"),
            int("created_at"),
            int_null("updated_at"),
        ],
    )
}

fn services() -> TableCreateStatement {
    table(
        "services",
        vec![
            id(),
            uuid("uuid"),
            name_null("host"),
            name_null("binary"),
            name_null("topic"),
            int("report_count"),
            flag("disabled"),
            name_null("disabled_reason"),
            int_null("last_seen_up"),
            flag("forced_down"),
            int("version"),
            int("created_at"),
            int_null("updated_at"),
        ],
    )
}

fn compute_nodes() -> TableCreateStatement {
    table(
        "compute_nodes",
        vec![
            id(),
            uuid("uuid"),
            name_null("host"),
            name_null("hypervisor_hostname"),
            int("created_at"),
            int_null("updated_at"),
            text("record"),
        ],
    )
}

/// A limit for a whole project has the empty user.
fn quotas() -> TableCreateStatement {
    let columns = vec![name("project_id"), name("user_id"), name("resource"), int("hard_limit")];
    with_key("quotas", columns, &["project_id", "user_id", "resource"])
}

fn quota_classes() -> TableCreateStatement {
    let columns = vec![name("class_name"), name("resource"), int("hard_limit")];
    with_key("quota_classes", columns, &["class_name", "resource"])
}

fn workflows() -> TableCreateStatement {
    table(
        "workflows",
        vec![
            id(),
            name("kind"),
            uuid("instance_uuid"),
            name("step"),
            text("payload"),
            name("owner"),
            int("lease_until"),
            int("lease_micros"),
            int("attempts"),
            int("created_at"),
            int("updated_at"),
        ],
    )
}
