//! `cargo xtask check`: what must hold before a push and what no test sees. All checks run, also after one failed.

mod crate_graph;
mod licences;
mod spdx;

use anyhow::bail;
use cargo_metadata::{Metadata, MetadataCommand};

use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// C libraries that Kilonova does without: their functions have Rust implementations that it uses.
const BANNED: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

/// Runs every check; the error names those that failed.
pub(crate) async fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut note = |name: &'static str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            println!("{error:#}");
            failed.push(name);
        }
    };
    note("format", format(workspace).await);
    let metadata = resolved(workspace).await?;
    note("crate graph", finding("crate graph", crate_graph::violations(&metadata)));
    note("banned crates", finding("banned crates", banned(&metadata)));
    note("licences", finding("licences", licences::violations(&metadata)));
    note("cargo deny", deny(workspace).await);
    note("clippy", clippy(workspace).await);
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

async fn format(workspace: &Workspace) -> anyhow::Result<()> {
    let step = Step::loud("format (cargo fmt --check)");
    process::run(process::cargo(workspace.root()).args(["fmt", "--all", "--check"])).await?;
    step.done("");
    Ok(())
}

async fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    let step = Step::loud("lints (cargo clippy)");
    let mut clippy = process::cargo(workspace.root());
    process::run(clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])).await?;
    step.done("");
    Ok(())
}

/// Only where somebody has cargo-deny: it also knows advisories.
async fn deny(workspace: &Workspace) -> anyhow::Result<()> {
    if process::find_program("cargo-deny").is_none() {
        return Ok(());
    }
    let step = Step::loud("cargo deny");
    process::run(process::cargo(workspace.root()).args(["deny", "check", "bans", "licenses", "sources"])).await?;
    step.done("");
    Ok(())
}

async fn resolved(workspace: &Workspace) -> anyhow::Result<Metadata> {
    let text = process::capture(process::cargo(workspace.root()).args(["metadata", "--format-version", "1"])).await?;
    Ok(MetadataCommand::parse(text)?)
}

fn finding(name: &str, violations: Vec<String>) -> anyhow::Result<()> {
    let step = Step::quiet(name);
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    step.done("");
    Ok(())
}

fn banned(metadata: &Metadata) -> Vec<String> {
    let names = metadata.packages.iter().map(|package| package.name.as_str());
    names
        .filter(|name| BANNED.contains(name))
        .map(|name| format!("{name} is banned; `cargo tree --invert {name} --target all` shows who brings it"))
        .collect()
}
