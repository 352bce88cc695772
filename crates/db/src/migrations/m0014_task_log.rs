//! Runs of tasks that are done once per period and host.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, task_log()).await
    }
}

fn task_log() -> TableCreateStatement {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().not_null().take();
    let text = |name: &'static str, length: u32| ColumnDef::new(name).string_len(length).not_null().take();
    Table::create()
        .table("task_log")
        .col(number("id").auto_increment().primary_key())
        .col(text("task_name", 100))
        .col(text("state", 20))
        .col(text("host", 255))
        .col(number("period_beginning"))
        .col(number("period_ending"))
        .col(ColumnDef::new("message").text().not_null())
        .col(number("task_items"))
        .col(number("errors"))
        .col(number("created_at"))
        .col(ColumnDef::new("updated_at").big_integer().null())
        .index(
            Index::create()
                .name("ux_task_log_run")
                .col("task_name")
                .col("period_beginning")
                .col("period_ending")
                .col("host")
                .unique(),
        )
        .take()
}
