//! What a project may use: limits set for the user, else for the project, else for the class `default`, else the
//! configured ones. Below 0 is without limit, which all are where `[quota] driver` is the one that limits nothing.

use std::collections::BTreeMap;

use futures::try_join;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, QuotaLimits};
use kilonova_db::quotas;
use kilonova_objects::Instance;

use super::ComputeError;
use crate::config::{QuotaDefaults, QuotaDriver};
use crate::state::ApiState;

/// Every limit, by Nova's name of the resource.
#[derive(Clone, Debug)]
pub(crate) struct Limits(BTreeMap<String, i64>);

impl Limits {
    /// The limit of a resource.
    pub(crate) fn get(&self, resource: &str) -> i64 {
        self.0.get(resource).copied().unwrap_or(-1)
    }

    /// Whether `wanted` is more than the limit of a resource.
    pub(crate) fn exceeds(&self, resource: &str, wanted: usize) -> bool {
        let limit = self.get(resource);
        limit >= 0 && i64::try_from(wanted).is_ok_and(|wanted| wanted > limit)
    }

    /// The limits that a create is checked against.
    pub(crate) fn of_instances(&self) -> QuotaLimits {
        QuotaLimits { instances: self.get("instances"), cores: self.get("cores"), ram: self.get("ram") }
    }
}

/// The configured limits by name.
pub(crate) fn defaults(quota: &QuotaDefaults) -> BTreeMap<String, i64> {
    let all = [
        ("instances", quota.instances),
        ("cores", quota.cores),
        ("ram", quota.ram),
        ("metadata_items", quota.metadata_items),
        ("injected_files", quota.injected_files),
        ("injected_file_content_bytes", quota.injected_file_content_bytes),
        ("injected_file_path_bytes", quota.injected_file_path_length),
        ("key_pairs", quota.key_pairs),
        ("server_groups", quota.server_groups),
        ("server_group_members", quota.server_group_members),
    ];
    all.into_iter().map(|(name, limit)| (name.to_owned(), limit)).collect()
}

/// The limits of a project, or of one of its users.
pub(crate) async fn limits(state: &ApiState, project_id: &str, user_id: Option<&str>) -> Result<Limits, ComputeError> {
    if state.config.quota_driver == QuotaDriver::Noop {
        return Ok(Limits(BTreeMap::new()));
    }
    let of_user = async {
        match user_id {
            Some(user_id) => quotas::project_user(&state.db, project_id, user_id).await,
            None => Ok(BTreeMap::new()),
        }
    };
    let (class, project, user) =
        try_join!(quotas::class(&state.db, "default"), quotas::project(&state.db, project_id), of_user)?;
    let mut limits = defaults(&state.config.quota);
    for over in [class, project, user] {
        limits.extend(over);
    }
    Ok(Limits(limits))
}

/// The limits of the caller.
pub(crate) async fn of_caller(state: &ApiState, context: &RequestContext) -> Result<Limits, ComputeError> {
    limits(state, context.project_id(), Some(context.user_id())).await
}

/// Whether a server that counted for nothing may count again.
pub(crate) async fn check_one_more(state: &ApiState, instance: &Instance) -> Result<(), ComputeError> {
    let limits = limits(state, instance.project_id(), instance.user_id.as_deref()).await?;
    let used = instances::usage(&state.db, instance.project_id(), None).await?;
    let (cores, ram) = (instance.vcpus.unwrap_or_default(), instance.memory_mb.unwrap_or_default());
    let all = [("cores", cores, used.cores), ("instances", 1, used.instances), ("ram", ram, used.ram)];
    let is_over = |(name, wanted, used): &&(&str, i64, i64)| {
        let limit = limits.get(name);
        limit >= 0 && used.saturating_add(*wanted) > limit
    };
    let overs: Vec<_> = all.iter().filter(is_over).collect();
    if overs.is_empty() {
        return Ok(());
    }
    let list = |texts: Vec<String>| texts.join(", ");
    Err(ComputeError::TooManyInstances {
        overs: list(overs.iter().map(|(name, ..)| (*name).to_owned()).collect()),
        requested: list(overs.iter().map(|(_, wanted, _)| wanted.to_string()).collect()),
        used: list(overs.iter().map(|(.., used)| used.to_string()).collect()),
        allowed: list(overs.iter().map(|(name, ..)| limits.get(name).to_string()).collect()),
    })
}

/// Whether a server may have so many metadata items.
pub(crate) async fn check_metadata(
    state: &ApiState,
    context: &RequestContext,
    items: usize,
) -> Result<(), ComputeError> {
    let limits = of_caller(state, context).await?;
    if limits.exceeds("metadata_items", items) {
        return Err(ComputeError::MetadataLimitExceeded { allowed: limits.get("metadata_items") });
    }
    Ok(())
}
