//! What Nova had once and has no longer.

use crate::call::{Answer, Call};
use crate::error::ApiError;

/// 410, in every microversion and for everybody who has a token.
pub(crate) async fn gone(_call: Call) -> Answer {
    Err(ApiError::Gone)
}
