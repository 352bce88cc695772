//! `limit` and `marker`.

use crate::call::Call;

/// How much of a list was asked for.
pub(crate) struct Page<'a> {
    /// Never more than `[api] max_limit`.
    pub(crate) limit: u64,
    pub(crate) marker: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// The schema let the parameters through.
    pub(crate) fn of(call: &'a Call) -> Self {
        let max = call.state.config.max_limit;
        // Digits that do not fit a u64 are more than any limit.
        let limit = call.query.get("limit").map_or(max, |limit| limit.parse().unwrap_or(u64::MAX).min(max));
        Self { limit, marker: call.query.get("marker") }
    }

    /// The limit as a length.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}
