//! Many servers: search options become a query of the database.

mod options;

use std::collections::HashMap;

use kilonova_db::DbError;
use kilonova_db::instances::{self, InstanceQuery};
use kilonova_db::request_specs::Asked;
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

/// The servers, whole, and if `with_asked` what they were asked with.
pub(crate) async fn list(
    state: &ApiState,
    wanted: &Wanted,
    with_asked: bool,
) -> Result<(Vec<Instance>, HashMap<Uuid, Asked>), ComputeError> {
    if wanted.is_empty || wanted.query.limit == Some(0) {
        return Ok(Default::default());
    }
    if wanted.local.is_none() {
        return read(state, &wanted.query, with_asked).await;
    }
    let unlimited = InstanceQuery { limit: None, ..wanted.query.clone() };
    let (mut found, asked) = read(state, &unlimited, with_asked).await?;
    found.retain(|instance| wanted.local.matches(instance));
    found.truncate(wanted.query.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
    Ok((found, asked))
}

/// Id and name of the servers.
pub(crate) async fn list_brief(state: &ApiState, wanted: &Wanted) -> Result<Vec<(Uuid, String)>, ComputeError> {
    if wanted.is_empty || wanted.query.limit == Some(0) {
        return Ok(Vec::new());
    }
    if wanted.local.is_none() {
        return instances::list_brief(&state.db, &wanted.query).await.map_err(of_marker);
    }
    let (whole, _) = list(state, wanted, false).await?;
    Ok(whole.into_iter().map(|found| (found.uuid, found.display_name.unwrap_or_default())).collect())
}

async fn read(
    state: &ApiState,
    query: &InstanceQuery,
    with_asked: bool,
) -> Result<(Vec<Instance>, HashMap<Uuid, Asked>), ComputeError> {
    if with_asked {
        return instances::list_asked(&state.db, query).await.map_err(of_marker);
    }
    Ok((instances::list(&state.db, query).await.map_err(of_marker)?, HashMap::new()))
}

fn of_marker(error: DbError) -> ComputeError {
    match error {
        DbError::NotFound { resource: "marker", id } => ComputeError::Invalid(format!("marker [{id}] not found")),
        other => other.into(),
    }
}
