//! Quotas as the `os-quota-sets`, `os-quota-class-sets` and `limits` resources know them: what is used, and which limits
//! may be set. What a request is checked against is [`super::quota`].

use std::collections::BTreeMap;

use futures::try_join;
use kilonova_db::{instances, quotas, server_groups};

use super::{ComputeError, quota};
use crate::config::QuotaDriver;
use crate::state::ApiState;

/// Every resource.
pub(crate) const RESOURCES: [&str; 14] = [
    "cores",
    "fixed_ips",
    "floating_ips",
    "injected_file_content_bytes",
    "injected_file_path_bytes",
    "injected_files",
    "instances",
    "key_pairs",
    "metadata_items",
    "ram",
    "security_group_rules",
    "security_groups",
    "server_group_members",
    "server_groups",
];
/// Those that the network service limits: always without limit here, and no longer shown from 2.36 on.
pub(crate) const NETWORK: &[&str] = &["fixed_ips", "floating_ips", "security_group_rules", "security_groups"];
/// Those of injected files, no longer shown from 2.57 on.
pub(crate) const FILES: &[&str] = &["injected_files", "injected_file_content_bytes", "injected_file_path_bytes"];
/// Those of server groups.
pub(crate) const SERVER_GROUPS: &[&str] = &["server_groups", "server_group_members"];

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<&'static str, i64>;

/// The limits of a project, or of one of its users.
pub(crate) async fn limits(state: &ApiState, project_id: &str, user_id: Option<&str>) -> Result<Amounts, ComputeError> {
    let limits = quota::limits(state, project_id, user_id).await?;
    Ok(RESOURCES.into_iter().map(|resource| (resource, limits.get(resource))).collect())
}

/// What a project gets for which nothing is set.
pub(crate) async fn defaults(state: &ApiState) -> Result<Amounts, ComputeError> {
    class(state, "default").await
}

/// The limits of a quota class.
pub(crate) async fn class(state: &ApiState, name: &str) -> Result<Amounts, ComputeError> {
    if state.config.quota_driver == QuotaDriver::Noop {
        return Ok(RESOURCES.into_iter().map(|resource| (resource, -1)).collect());
    }
    let set = quotas::class(&state.db, name).await?;
    let configured = quota::defaults(&state.config.quota);
    let limit = |resource| set.get(resource).or_else(|| configured.get(resource)).copied().unwrap_or(-1);
    Ok(RESOURCES.into_iter().map(|resource| (resource, limit(resource))).collect())
}

/// What a project, or one of its users, uses. Only servers and server groups are counted across a project: what counts
/// per user, server or group is always 0 here, as in Nova.
pub(crate) async fn used(state: &ApiState, project_id: &str, user_id: Option<&str>) -> Result<Amounts, ComputeError> {
    let (usage, groups) = try_join!(
        instances::usage(&state.db, project_id, user_id),
        server_groups::usage(&state.db, project_id, user_id)
    )?;
    let mut used: Amounts = RESOURCES.into_iter().map(|resource| (resource, 0)).collect();
    used.extend([
        ("instances", usage.instances),
        ("cores", usage.cores),
        ("ram", usage.ram),
        ("server_groups", groups),
    ]);
    Ok(used)
}

/// Sets limits of a project, or of one of its users: all of them or none. Unless `force`, a limit may not be less than
/// what is used (and, of a project, given to users), nor that of a user more than what the project has left.
pub(crate) async fn update(
    state: &ApiState,
    project_id: &str,
    user_id: Option<&str>,
    wanted: &BTreeMap<String, i64>,
    force: bool,
) -> Result<(), ComputeError> {
    if !force {
        let bounds = Bounds::read(state, project_id, user_id).await?;
        for (resource, limit) in wanted {
            bounds.check(resource, *limit)?;
        }
    }
    match user_id {
        Some(user_id) => quotas::set_project_user(&state.db, project_id, user_id, wanted).await?,
        None => quotas::set_project(&state.db, project_id, wanted).await?,
    }
    Ok(())
}

/// What the bounds of new limits come from.
struct Bounds {
    is_user: bool,
    /// Of the project.
    limits: Amounts,
    /// Given to users of the project.
    given: BTreeMap<String, i64>,
    /// Given to the user in question.
    own: BTreeMap<String, i64>,
    used: Amounts,
}

impl Bounds {
    async fn read(state: &ApiState, project_id: &str, user_id: Option<&str>) -> Result<Self, ComputeError> {
        let own = async {
            match user_id {
                Some(user_id) => Ok(quotas::project_user(&state.db, project_id, user_id).await?),
                None => Ok(BTreeMap::new()),
            }
        };
        let given = async { Ok(quotas::given_to_users(&state.db, project_id).await?) };
        let (limits, given, own, used) =
            try_join!(limits(state, project_id, None), given, own, used(state, project_id, user_id))?;
        Ok(Self { is_user: user_id.is_some(), limits, given, own, used })
    }

    fn check(&self, resource: &str, limit: i64) -> Result<(), ComputeError> {
        let used = self.used.get(resource).copied().unwrap_or(0);
        let (minimum, maximum) = if self.is_user {
            (used, self.left(resource).map(|left| left + self.own.get(resource).copied().unwrap_or(0)))
        } else {
            (used.max(self.given.get(resource).copied().unwrap_or(0)), None)
        };
        if limit >= 0 && limit < minimum {
            return Err(ComputeError::Invalid(format!(
                "Quota limit {limit} for {resource} must be greater than or equal to already used and reserved \
                 {minimum}."
            )));
        }
        match maximum {
            Some(maximum) if limit < 0 || limit > maximum => Err(ComputeError::Invalid(format!(
                "Quota limit {limit} for {resource} must be less than or equal to {maximum}."
            ))),
            _ => Ok(()),
        }
    }

    /// What the project has not given to users; `None` without limit.
    fn left(&self, resource: &str) -> Option<i64> {
        let limit = self.limits.get(resource).copied().filter(|limit| *limit >= 0)?;
        Some(limit - self.given.get(resource).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(is_user: bool, limit: i64, given: i64, own: i64, used: i64) -> Bounds {
        let one = |amount| BTreeMap::from([("cores".to_owned(), amount)]);
        Bounds {
            is_user,
            limits: BTreeMap::from([("cores", limit)]),
            given: one(given),
            own: one(own),
            used: BTreeMap::from([("cores", used)]),
        }
    }

    #[test]
    fn a_project_keeps_at_least_what_is_used_and_what_users_were_given() {
        let project = bounds(false, 20, 8, 0, 5);
        assert!(project.check("cores", 8).is_ok() && project.check("cores", -1).is_ok());
        assert_eq!(
            project.check("cores", 7).unwrap_err().to_string(),
            "Quota limit 7 for cores must be greater than or equal to already used and reserved 8."
        );
    }

    #[test]
    fn a_user_gets_at_most_what_the_project_has_left() {
        let user = bounds(true, 20, 15, 5, 2);
        assert!(user.check("cores", 10).is_ok() && user.check("cores", 2).is_ok());
        assert_eq!(
            user.check("cores", 11).unwrap_err().to_string(),
            "Quota limit 11 for cores must be less than or equal to 10."
        );
        assert_eq!(
            user.check("cores", -1).unwrap_err().to_string(),
            "Quota limit -1 for cores must be less than or equal to 10."
        );
        assert!(user.check("cores", 1).is_err());
        assert!(bounds(true, -1, 15, 5, 2).check("cores", -1).is_ok());
    }
}
