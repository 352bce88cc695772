//! `limit` and `marker`, or `offset`.

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

/// The items that `offset` and `limit` ask for; no limit is the longest list here.
pub(crate) fn limited<T>(call: &Call, items: Vec<T>) -> Vec<T> {
    let limit = Page::of(call).len();
    let limit = if limit == 0 { usize::try_from(call.state.config.max_limit).unwrap_or(usize::MAX) } else { limit };
    let offset = call.query.get("offset").map_or(0, |offset| offset.parse().unwrap_or(usize::MAX));
    items.into_iter().skip(offset).take(limit).collect()
}
