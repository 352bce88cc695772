//! Instants as the databases and the wire know them: UTC, and never finer than a microsecond.

use chrono::{DateTime, SubsecRound as _, Utc};

/// Now, cut to microseconds so that a value read back from any database equals the one written.
pub fn utcnow() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// `2026-11-22T18:35:34Z`: whole seconds, as Nova's REST API and versioned objects write instants.
pub fn isotime(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-22T18:35:34.000000`: microseconds without a zone, as Nova's older API extensions and contexts write instants.
pub fn strtime(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}
