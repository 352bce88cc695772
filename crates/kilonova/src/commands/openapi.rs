//! `kilonova openapi`: the compute API described, as `GET /openapi.json` of a running one does.

use std::io::Write as _;

use anyhow::Context as _;

pub(super) fn run() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&kilonova_api::openapi::document())?;
    writeln!(std::io::stdout(), "{text}").context("stdout is closed")
}
