//! Server groups and their members.
//!
//! Members stay when their server is deleted, as in Nova; whoever reads them leaves those out. A group that creates take
//! turns at counts them in `turns`, for the reason that `project_locks` does.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, instance_groups()).await?;
        super::create_table(manager, instance_group_members()).await?;
        super::create_index(manager, "instance_groups", "instance_groups_by_project", groups_by_project()).await?;
        super::create_index(manager, "instance_group_members", "members_by_group", members_by_group()).await
    }
}

fn name(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(255).not_null().take()
}

fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string_len(36).not_null().take()
}

fn instance_groups() -> TableCreateStatement {
    Table::create()
        .table("instance_groups")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(uuid("uuid").unique_key())
        .col(name("name"))
        .col(name("project_id"))
        .col(name("user_id"))
        .col(name("policy"))
        .col(ColumnDef::new("rules").text().not_null())
        .col(ColumnDef::new("turns").big_integer().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .take()
}

/// A server is in one group at most: it joins when it is created.
fn instance_group_members() -> TableCreateStatement {
    Table::create()
        .table("instance_group_members")
        .col(uuid("instance_uuid").primary_key())
        .col(ColumnDef::new("group_id").big_integer().not_null())
        .take()
}

/// All that the quota counts.
fn groups_by_project() -> IndexCreateStatement {
    Index::create().name("instance_groups_by_project").table("instance_groups").col("project_id").col("user_id").take()
}

fn members_by_group() -> IndexCreateStatement {
    Index::create().name("members_by_group").table("instance_group_members").col("group_id").take()
}
