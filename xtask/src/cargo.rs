//! What cargo builds or installs for the commands.

use std::path::PathBuf;

use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{novnc, process};

/// The test runner, at the version that `.config/nextest.toml` was written for.
const NEXTEST_VERSION: &str = "0.9.143";

/// Builds `kilonova` as users run it, cargo's progress visible; returns the binary.
pub(crate) async fn build_release(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let novnc = novnc::ensure(workspace).await?;
    let step = Step::loud("building kilonova (release; the first time takes minutes)");
    let mut build = process::cargo(workspace.root());
    build.args(["build", "--release", "-p", "kilonova"]);
    if let Some(novnc) = novnc {
        build.env("KILONOVA_NOVNC", novnc);
    }
    process::run(&mut build).await?;
    step.done("");
    Ok(workspace.target("release/kilonova"))
}

/// Installs cargo-nextest unless some version of it is there.
pub(crate) async fn ensure_nextest(workspace: &Workspace) -> anyhow::Result<()> {
    if process::capture(process::cargo(workspace.root()).args(["nextest", "--version"])).await.is_ok() {
        return Ok(());
    }
    let step = Step::loud(format!("installing cargo-nextest {NEXTEST_VERSION}, which runs the tests (takes minutes)"));
    let mut install = process::cargo(workspace.root());
    process::run(install.args(["install", "--locked", "cargo-nextest", "--version", NEXTEST_VERSION])).await?;
    step.done("");
    Ok(())
}
