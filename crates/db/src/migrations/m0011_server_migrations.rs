//! Moves of servers between hosts: Nova's table `migrations`, under a name that says whose they are.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "server_migrations";
/// Columns, whether unique.
const INDEXES: [(&[&str], bool); 4] = [
    (&["uuid"], true),
    (&["instance_uuid", "status"], false),
    (&["source_compute", "status"], false),
    (&["dest_compute", "status"], false),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, table()).await?;
        for (columns, is_unique) in INDEXES {
            let name = format!("{TABLE}_{}_idx", columns.join("_"));
            let mut index = Index::create();
            index.name(&name).table(TABLE);
            for column in columns {
                index.col(*column);
            }
            if is_unique {
                index.unique();
            }
            super::create_index(manager, TABLE, &name, index).await?;
        }
        Ok(())
    }
}

fn table() -> TableCreateStatement {
    let text = |name: &'static str| ColumnDef::new(name).string_len(255).null().take();
    let number = |name: &'static str| ColumnDef::new(name).big_integer().null().take();
    let uuid = |name: &'static str| ColumnDef::new(name).string_len(36).not_null().take();
    let flag = |name: &'static str| ColumnDef::new(name).boolean().not_null().take();
    let mut table = Table::create();
    table
        .table(TABLE)
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(uuid("uuid"))
        .col(uuid("instance_uuid"))
        .col(ColumnDef::new("status").string_len(255).not_null())
        .col(ColumnDef::new("migration_type").string_len(255).not_null())
        .col(flag("hidden"))
        .col(flag("cross_cell_move"))
        .col(flag("deleted"))
        .col(ColumnDef::new("created_at").big_integer().not_null());
    for name in ["source_compute", "dest_compute", "source_node", "dest_node", "dest_host", "user_id", "project_id"] {
        table.col(text(name));
    }
    for name in [
        "dest_compute_id",
        "old_instance_type_id",
        "new_instance_type_id",
        "memory_total",
        "memory_processed",
        "memory_remaining",
        "disk_total",
        "disk_processed",
        "disk_remaining",
        "updated_at",
        "deleted_at",
    ] {
        table.col(number(name));
    }
    table
}
