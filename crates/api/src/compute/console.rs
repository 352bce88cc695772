//! The console log.

use kilonova_core::RequestContext;
use kilonova_objects::Instance;
use kilonova_rpcapi::compute::GetConsoleOutput;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// The last `length` lines, or all there are; without the control characters that no reader wants.
pub(crate) async fn output(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    length: Option<i64>,
) -> Result<String, ComputeError> {
    let host = checks::host(&instance)?.to_owned();
    let tail_length = length.filter(|length| *length >= 0);
    let called = state.compute.call(context, &host, GetConsoleOutput { instance, tail_length }).await;
    let output = called.map_err(|error| {
        if error.is("NotImplementedError") { ComputeError::ConsoleUnsupported } else { error.into() }
    })?;
    Ok(output.chars().filter(|c| !matches!(c, '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}')).collect())
}
