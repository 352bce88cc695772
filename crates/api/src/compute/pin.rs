//! The availability zone that a server must stay in when it moves.

use kilonova_db::{DbError, Failure, request_specs};
use kilonova_objects::{Instance, RequestSpec};

use super::{ComputeError, availability_zones};
use crate::state::ApiState;

impl Failure for ComputeError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Db(error) => Some(error),
            _ => None,
        }
    }
}

/// Pins a server to the zone that it is in, or with `None` to none. From one zone to another there is no way but over
/// none.
pub(crate) async fn pin(state: &ApiState, instance: &Instance, zone: Option<&str>) -> Result<(), ComputeError> {
    let current = match instance.host.as_deref().filter(|host| !host.is_empty()) {
        Some(host) => Some(availability_zones::read(state).await?.of_host(host).to_owned()),
        None => instance.availability_zone.clone(),
    };
    let decide = |spec: RequestSpec| {
        let pinned = spec.availability_zone.clone();
        match (pinned.as_deref(), zone) {
            (pinned, wanted) if pinned == wanted => Ok(None),
            (Some(_), Some(_)) => Err(ComputeError::CannotChangePinnedZone),
            (None, Some(wanted)) if current.as_deref() != Some(wanted) => Err(ComputeError::CannotPinElsewhere {
                current: current.clone().unwrap_or_else(|| "None".to_owned()),
                requested: wanted.to_owned(),
            }),
            (_, wanted) => Ok(Some(RequestSpec { availability_zone: wanted.map(str::to_owned), ..spec })),
        }
    };
    request_specs::change(&state.db, instance.uuid, decide).await
}
