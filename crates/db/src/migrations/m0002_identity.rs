//! Tables of identity: domains, projects, users, roles, assignments, revocations.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum IdentityDomains {
    Table,
    Id,
    Name,
    Description,
    Enabled,
    Options,
    Extra,
}

#[derive(DeriveIden)]
enum IdentityProjects {
    Table,
    Id,
    DomainId,
    ParentId,
    Name,
    Description,
    Enabled,
    Tags,
    Options,
    Extra,
}

#[derive(DeriveIden)]
enum IdentityUsers {
    Table,
    Id,
    DomainId,
    Name,
    PasswordHash,
    Enabled,
    DefaultProjectId,
    TokenGeneration,
    Options,
    Extra,
}

#[derive(DeriveIden)]
enum IdentityRoles {
    Table,
    Id,
    Name,
    Description,
    Options,
    Extra,
}

#[derive(DeriveIden)]
enum IdentityImpliedRoles {
    Table,
    PriorRoleId,
    ImpliedRoleId,
}

#[derive(DeriveIden)]
enum IdentityRoleAssignments {
    Table,
    UserId,
    RoleId,
    TargetType,
    TargetId,
}

#[derive(DeriveIden)]
enum IdentityRevokedTokens {
    Table,
    AuditId,
    ExpiresAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::create_table(manager, domains()).await?;
        super::create_table(manager, projects()).await?;
        name_in_domain(manager, "identity_projects", "identity_projects_name").await?;
        super::create_table(manager, users()).await?;
        name_in_domain(manager, "identity_users", "identity_users_name").await?;
        super::create_table(manager, roles()).await?;
        super::create_table(manager, implied_roles()).await?;
        super::create_table(manager, role_assignments()).await?;
        super::create_index(
            manager,
            "identity_role_assignments",
            "identity_role_assignments_target",
            assignments_by_target(),
        )
        .await?;
        super::create_table(manager, revoked_tokens()).await
    }
}

fn id(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).string_len(64).not_null().to_owned()
}

fn json(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).json().not_null().to_owned()
}

fn domains() -> TableCreateStatement {
    Table::create()
        .table(IdentityDomains::Table)
        .col(id(IdentityDomains::Id).primary_key())
        .col(ColumnDef::new(IdentityDomains::Name).string_len(64).not_null().unique_key())
        .col(ColumnDef::new(IdentityDomains::Description).text().not_null())
        .col(ColumnDef::new(IdentityDomains::Enabled).boolean().not_null())
        .col(json(IdentityDomains::Options))
        .col(json(IdentityDomains::Extra))
        .to_owned()
}

fn projects() -> TableCreateStatement {
    Table::create()
        .table(IdentityProjects::Table)
        .col(id(IdentityProjects::Id).primary_key())
        .col(id(IdentityProjects::DomainId))
        .col(ColumnDef::new(IdentityProjects::ParentId).string_len(64).null())
        .col(ColumnDef::new(IdentityProjects::Name).string_len(64).not_null())
        .col(ColumnDef::new(IdentityProjects::Description).text().not_null())
        .col(ColumnDef::new(IdentityProjects::Enabled).boolean().not_null())
        .col(json(IdentityProjects::Tags))
        .col(json(IdentityProjects::Options))
        .col(json(IdentityProjects::Extra))
        .foreign_key(
            ForeignKey::create()
                .from(IdentityProjects::Table, IdentityProjects::DomainId)
                .to(IdentityDomains::Table, IdentityDomains::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn users() -> TableCreateStatement {
    Table::create()
        .table(IdentityUsers::Table)
        .col(id(IdentityUsers::Id).primary_key())
        .col(id(IdentityUsers::DomainId))
        .col(ColumnDef::new(IdentityUsers::Name).string_len(255).not_null())
        .col(ColumnDef::new(IdentityUsers::PasswordHash).string_len(255).null())
        .col(ColumnDef::new(IdentityUsers::Enabled).boolean().not_null())
        .col(ColumnDef::new(IdentityUsers::DefaultProjectId).string_len(64).null())
        .col(ColumnDef::new(IdentityUsers::TokenGeneration).integer().not_null())
        .col(json(IdentityUsers::Options))
        .col(json(IdentityUsers::Extra))
        .foreign_key(
            ForeignKey::create()
                .from(IdentityUsers::Table, IdentityUsers::DomainId)
                .to(IdentityDomains::Table, IdentityDomains::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

/// Users and projects alike have one name in one domain.
async fn name_in_domain(manager: &SchemaManager<'_>, table: &'static str, name: &str) -> Result<(), DbErr> {
    let index = Index::create().name(name).table(table).col("domain_id").col("name").unique().to_owned();
    super::create_index(manager, table, name, index).await
}

fn roles() -> TableCreateStatement {
    Table::create()
        .table(IdentityRoles::Table)
        .col(id(IdentityRoles::Id).primary_key())
        .col(ColumnDef::new(IdentityRoles::Name).string_len(255).not_null().unique_key())
        .col(ColumnDef::new(IdentityRoles::Description).text().null())
        .col(json(IdentityRoles::Options))
        .col(json(IdentityRoles::Extra))
        .to_owned()
}

fn implied_roles() -> TableCreateStatement {
    Table::create()
        .table(IdentityImpliedRoles::Table)
        .col(id(IdentityImpliedRoles::PriorRoleId))
        .col(id(IdentityImpliedRoles::ImpliedRoleId))
        .primary_key(Index::create().col(IdentityImpliedRoles::PriorRoleId).col(IdentityImpliedRoles::ImpliedRoleId))
        .foreign_key(
            ForeignKey::create()
                .from(IdentityImpliedRoles::Table, IdentityImpliedRoles::PriorRoleId)
                .to(IdentityRoles::Table, IdentityRoles::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .foreign_key(
            ForeignKey::create()
                .from(IdentityImpliedRoles::Table, IdentityImpliedRoles::ImpliedRoleId)
                .to(IdentityRoles::Table, IdentityRoles::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn role_assignments() -> TableCreateStatement {
    Table::create()
        .table(IdentityRoleAssignments::Table)
        .col(id(IdentityRoleAssignments::UserId))
        .col(id(IdentityRoleAssignments::RoleId))
        .col(ColumnDef::new(IdentityRoleAssignments::TargetType).string_len(16).not_null())
        .col(id(IdentityRoleAssignments::TargetId))
        .primary_key(
            Index::create()
                .col(IdentityRoleAssignments::UserId)
                .col(IdentityRoleAssignments::TargetType)
                .col(IdentityRoleAssignments::TargetId)
                .col(IdentityRoleAssignments::RoleId),
        )
        .foreign_key(
            ForeignKey::create()
                .from(IdentityRoleAssignments::Table, IdentityRoleAssignments::UserId)
                .to(IdentityUsers::Table, IdentityUsers::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .foreign_key(
            ForeignKey::create()
                .from(IdentityRoleAssignments::Table, IdentityRoleAssignments::RoleId)
                .to(IdentityRoles::Table, IdentityRoles::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn assignments_by_target() -> IndexCreateStatement {
    Index::create()
        .name("identity_role_assignments_target")
        .table(IdentityRoleAssignments::Table)
        .col(IdentityRoleAssignments::TargetType)
        .col(IdentityRoleAssignments::TargetId)
        .to_owned()
}

fn revoked_tokens() -> TableCreateStatement {
    Table::create()
        .table(IdentityRevokedTokens::Table)
        .col(ColumnDef::new(IdentityRevokedTokens::AuditId).string_len(64).not_null().primary_key())
        .col(ColumnDef::new(IdentityRevokedTokens::ExpiresAt).big_integer().not_null())
        .to_owned()
}
