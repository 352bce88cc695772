//! What a request has claimed so far, so that all of it can be given back.

use std::collections::BTreeMap;
use std::time::Duration;

use kilonova_clients::ClientError;
use kilonova_clients::placement::{Placement, Resources};
use kilonova_core::RequestContext;
use kilonova_objects::RequestSpec;
use uuid::Uuid;

use crate::SchedulerError;

/// How often a host is asked again after somebody else changed it at the same moment.
const MAX_TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The claims of one request.
pub(crate) struct Claims<'a> {
    placement: &'a dyn Placement,
    context: &'a RequestContext,
    project_id: &'a str,
    user_id: &'a str,
    made: Vec<Uuid>,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(placement: &'a dyn Placement, context: &'a RequestContext, spec: &'a RequestSpec) -> Self {
        Self {
            placement,
            context,
            project_id: spec.project_id.as_deref().unwrap_or_else(|| context.project_id()),
            user_id: spec.user_id.as_deref().unwrap_or_else(|| context.user_id()),
            made: Vec::new(),
        }
    }

    /// Claims `resources` of `provider` for a server; false when the provider does not have them any more.
    pub(crate) async fn claim(
        &mut self,
        server: Uuid,
        provider: Uuid,
        resources: &Resources,
    ) -> Result<bool, SchedulerError> {
        let allocations = BTreeMap::from([(provider, resources.clone())]);
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_TRIES {
            let claimed =
                self.placement.set_allocations(self.context, server, self.project_id, self.user_id, &allocations).await;
            match claimed {
                Ok(()) => {
                    self.made.push(server);
                    return Ok(true);
                }
                Err(ClientError::ConcurrentUpdate(why)) => {
                    tracing::debug!(%server, %provider, why, "a claim is tried again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(
                    ClientError::Conflict(why) | ClientError::BadRequest(why) | ClientError::NotFound { id: why, .. },
                ) => {
                    tracing::debug!(%server, %provider, why, "a claim was refused");
                    return Ok(false);
                }
                Err(error) => {
                    // Whether it was made before the answer was lost is not known.
                    self.made.push(server);
                    return Err(SchedulerError::Placement(error));
                }
            }
        }
        Ok(false)
    }

    /// Gives everything back.
    pub(crate) async fn release(self) {
        for server in self.made {
            if let Err(error) = self.placement.delete_allocations(self.context, server).await {
                tracing::warn!(%server, %error, "a claim could not be given back");
            }
        }
    }
}
