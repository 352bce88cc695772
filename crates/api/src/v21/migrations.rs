//! `/os-migrations`

use kilonova_db::DbError;
use kilonova_db::server_migrations::{self, MigrationQuery};
use serde_json::json;

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::v21::paging::Page;
use crate::v21::values::bool_from_string;
use crate::validation::parse_isotime;
use crate::versions::{V2_59, V2_66};
use crate::views::migrations::{Migration, Migrations};

/// `GET /os-migrations`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    if call.query.get("project_id") != Some(call.context.project_id()) {
        call.require("os_compute_api:os-migrations:index:all_projects", call.own())?;
    }
    let shows_hosts = call.can("os_compute_api:os-migrations:index:host", call.own());
    let Some(query) = query(&call)? else { return ok(&json!({"migrations": []})) };
    let found = server_migrations::list(&call.state.db, &query).await.map_err(|error| match error {
        DbError::NotFound { resource: "marker", id } => no_marker(&id),
        other => other.into(),
    })?;
    let last = found.last().map(|record| record.uuid.to_string());
    let max = call.state.config.max_limit;
    let next = || call.links.next("os-migrations", &call.query, max, found.len(), last.as_deref());
    let links = if call.since(V2_59) { next().map(|link| [link]) } else { None };
    let migration = |record| Migration::new(record, call.version, shows_hosts, &call.links);
    let migrations = found.iter().filter(|record| !record.hidden).map(migration).collect();
    ok(&Migrations { migrations, links })
}

/// `None`: nothing can be found by that.
fn query(call: &Call) -> Result<Option<MigrationQuery>, ApiError> {
    let text = |name: &str| call.query.get(name).map(str::to_owned);
    let instance_uuid = call.query.get("instance_uuid").map(str::parse).transpose();
    let Ok(instance_uuid) = instance_uuid else { return Ok(None) };
    let mut query = MigrationQuery {
        instance_uuid,
        host: text("host"),
        // By Nova's rule a host says it all.
        source_compute: text("source_compute").filter(|_| !call.query.has("host")),
        statuses: text("status").map(|status| vec![status]),
        migration_type: text("migration_type"),
        hidden: call.query.get("hidden").and_then(bool_from_string),
        user_id: text("user_id"),
        project_id: text("project_id"),
        ..MigrationQuery::default()
    };
    if call.since(V2_59) {
        let page = Page::of(call);
        let marker = page.marker.map(|marker| marker.parse().map_err(|_| no_marker(marker))).transpose()?;
        (query.newest_first, query.limit, query.marker) = (true, Some(page.limit), marker);
        query.changes_since = call.query.get("changes-since").and_then(parse_isotime);
    }
    if call.since(V2_66) {
        query.changes_before = call.query.get("changes-before").and_then(parse_isotime);
        if let (Some(since), Some(before)) = (query.changes_since, query.changes_before)
            && before < since
        {
            let message = "The value of changes-since must be less than or equal to changes-before.";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
    }
    Ok(Some(query))
}

fn no_marker(marker: &str) -> ApiError {
    ApiError::BadRequest(format!("Marker {marker} could not be found."))
}
