//! Many servers: search options become a query of the database.

mod options;

use kilonova_db::DbError;
use kilonova_db::instances::{self, InstanceQuery};
use kilonova_objects::Instance;
use regex::Regex;
use uuid::Uuid;

use super::ComputeError;
use crate::state::ApiState;

pub(crate) use options::{Search, SearchError};

/// A query, and the rare filters that the database has no columns for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub query: InstanceQuery,
    /// No server can match.
    pub is_empty: bool,
    pub local: LocalFilters,
}

/// Filters on what is not a column of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalFilters {
    pub locked_by: Option<Regex>,
    pub access_ip_v4: Option<Regex>,
    pub access_ip_v6: Option<Regex>,
    pub auto_disk_config: Option<bool>,
}

impl LocalFilters {
    fn is_none(&self) -> bool {
        self.locked_by.is_none()
            && self.access_ip_v4.is_none()
            && self.access_ip_v6.is_none()
            && self.auto_disk_config.is_none()
    }

    fn matches(&self, instance: &Instance) -> bool {
        let fits = |regex: &Option<Regex>, text: &Option<String>| {
            regex.as_ref().is_none_or(|regex| text.as_deref().is_some_and(|text| regex.is_match(text)))
        };
        fits(&self.locked_by, &instance.locked_by)
            && fits(&self.access_ip_v4, &instance.access_ip_v4)
            && fits(&self.access_ip_v6, &instance.access_ip_v6)
            && self.auto_disk_config.is_none_or(|wanted| wanted == instance.auto_disk_config)
    }
}

/// The servers, whole.
pub(crate) async fn list(state: &ApiState, wanted: &Wanted) -> Result<Vec<Instance>, ComputeError> {
    if wanted.is_empty || wanted.query.limit == Some(0) {
        return Ok(Vec::new());
    }
    if wanted.local.is_none() {
        return instances::list(&state.db, &wanted.query).await.map_err(of_marker);
    }
    let unlimited = InstanceQuery { limit: None, ..wanted.query.clone() };
    let mut found = instances::list(&state.db, &unlimited).await.map_err(of_marker)?;
    found.retain(|instance| wanted.local.matches(instance));
    found.truncate(wanted.query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
    Ok(found)
}

/// Id and name of the servers.
pub(crate) async fn list_brief(state: &ApiState, wanted: &Wanted) -> Result<Vec<(Uuid, String)>, ComputeError> {
    if wanted.is_empty || wanted.query.limit == Some(0) {
        return Ok(Vec::new());
    }
    if wanted.local.is_none() {
        return instances::list_brief(&state.db, &wanted.query).await.map_err(of_marker);
    }
    let whole = list(state, wanted).await?;
    Ok(whole.into_iter().map(|found| (found.uuid, found.display_name.unwrap_or_default())).collect())
}

fn of_marker(error: DbError) -> ComputeError {
    match error {
        DbError::NotFound { resource: "marker", id } => ComputeError::Invalid(format!("marker [{id}] not found")),
        other => other.into(),
    }
}
