//! Telling a server its addresses.

use kilonova_core::RequestContext;
use kilonova_objects::Instance;
use kilonova_rpcapi::compute::InjectNetworkInfo;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// `injectNetworkInfo`: in whatever state, and without a record.
pub(crate) async fn inject(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    let host = checks::host(&instance)?.to_owned();
    Ok(state.compute.cast(context, &host, InjectNetworkInfo { instance }).await?)
}
