//! `/servers/{server_id}/migrations`: the live migrations of a server that go on.

use axum::http::StatusCode;
use kilonova_db::server_migrations::{self, MigrationQuery};
use kilonova_objects::migration::migration_type::LIVE_MIGRATION;
use kilonova_objects::migration::status::LIVE_IN_PROGRESS;
use serde_json::json;

use super::{authorized, target};
use crate::call::{Answer, Call, empty, ok};
use crate::compute::live_migrate;
use crate::error::ApiError;
use crate::versions::V2_65;
use crate::views::migrations::{ServerMigration, is_live_in_progress};

/// `GET /servers/{server_id}/migrations`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let shows_hosts = call.can("os_compute_api:servers:migrations:index:host", target(&instance));
    let query = MigrationQuery {
        instance_uuid: Some(instance.uuid),
        migration_type: Some(LIVE_MIGRATION.to_owned()),
        statuses: Some(LIVE_IN_PROGRESS.map(str::to_owned).to_vec()),
        ..MigrationQuery::default()
    };
    let found = server_migrations::list(&call.state.db, &query).await?;
    let migration = |record| ServerMigration::new(record, call.version, shows_hosts);
    ok(&json!({"migrations": found.iter().map(migration).collect::<Vec<_>>()}))
}

/// `GET /servers/{server_id}/migrations/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let (id, uuid) = (call.param("id"), instance.uuid);
    let record = live_migrate::find(&call.state, uuid, id).await?.ok_or_else(|| {
        ApiError::NotFound(format!("In-progress live migration {id} is not found for server {uuid}."))
    })?;
    if !record.is_live_migration() {
        return Err(ApiError::NotFound(format!("Migration {id} for server {uuid} is not live-migration.")));
    }
    if !is_live_in_progress(&record) {
        return Err(ApiError::NotFound(format!("Live migration {id} for server {uuid} is not in progress.")));
    }
    ok(&json!({"migration": ServerMigration::new(&record, call.version, true)}))
}

/// `DELETE /servers/{server_id}/migrations/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    live_migrate::abort(&call.state, &call.context, instance, call.param("id"), call.since(V2_65)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `force_complete`
pub(crate) async fn force_complete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    live_migrate::force_complete(&call.state, &call.context, instance, call.param("id")).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
