//! `cargo xtask fuzz-api`: schemathesis makes requests of what our own OpenAPI document says, for some minutes, to a cloud
//! with the fake driver.
//!
//! ```text
//!   schemathesis ──> kilonova up ──> its document ──> requests (xtask/fuzz_api.py puts a part of each right) ──> checks
//! ```
//!
//! An answer of 5xx (but 501) fails it, and so does one that the document does not have: another status, another type, a fault in
//! another form. The cloud's log and schemathesis's report stay below `target/fuzz` until the next run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::api::{Api, text};
use crate::cloud::{Cloud, CloudOptions};
use crate::interrupt::Interrupt;
use crate::packages::{self, PYTHON};
use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, process, python};

/// The entry of `clouds.yaml` whose user may ask for everything.
const ADMIN: &str = "kilonova-admin";
/// What a new cloud with the fake driver has.
const IMAGE: &str = "guest";
const NETWORK: &str = "private";
/// Whether the status is one that the operation has, the body in the form that it has then, and no failure of ours.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// What schemathesis needs at the end of its time, at most.
const GRACE: Duration = Duration::from_secs(180);

/// Options of `cargo xtask fuzz-api`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long requests are made.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Makes the requests of an earlier run, which said its seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Only operations whose path this regular expression finds.
    #[arg(long, value_name = "REGEX")]
    path: Option<String>,
    /// A kilonova that is built already.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// The command.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> anyhow::Result<()> {
    packages::ensure(&[&PYTHON]).await?;
    let program = python::ensure_schemathesis(workspace).await?;
    let dir = workspace.target("fuzz");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => cargo::build_release(workspace).await?,
    };
    let fuzz = Fuzz {
        program,
        dir,
        hooks: workspace.root().join("xtask/fuzz_api.py"),
        config: workspace.root().join("xtask/schemathesis.toml"),
        options,
    };
    let mut interrupt = Interrupt::listen()?;
    tokio::select! {
        done = fuzz.run_in_cloud(&binary) => done,
        () = interrupt.received() => anyhow::bail!("interrupted"),
    }
}

/// The program, what it is told, and the directory of a run.
struct Fuzz {
    program: PathBuf,
    dir: PathBuf,
    hooks: PathBuf,
    config: PathBuf,
    options: Options,
}

impl Fuzz {
    async fn run_in_cloud(&self, binary: &Path) -> anyhow::Result<()> {
        let step = Step::quiet("starting kilonova up with the fake driver and two hosts");
        let mut arguments: Vec<_> =
            ["--driver", "fake", "--fake-hosts", "2", "--listen", "127.0.0.1:0", "--state-dir"].map(Into::into).into();
        arguments.push(self.dir.join("cloud").into());
        let mut cloud = Cloud::spawn(CloudOptions { binary, arguments, log: self.dir.join("kilonova.log") })?;
        let ready = cloud.ready().await?;
        step.done(&format!("{}, log in {}", ready.endpoint, cloud.log().display()));
        let admin = Api::login(&ready.clouds_yaml, ADMIN).await?;
        let mut command = self.command(&admin).await?;
        let step = Step::loud(format!("schemathesis, for {} minutes", self.options.minutes));
        let bound = Duration::from_secs(self.options.minutes * 60) + GRACE;
        let status = tokio::select! {
            status = tokio::time::timeout(bound, command.status()) => status.context("schemathesis did not end")??,
            error = cloud.ended() => return Err(error),
        };
        // Also where requests failed: a cloud that cannot be stopped is a failure of its own.
        cloud.stop().await?;
        ensure!(status.success(), "answers are not as they should be: {} has them", self.dir.display());
        step.done("");
        Ok(())
    }

    async fn command(&self, admin: &Api) -> anyhow::Result<tokio::process::Command> {
        let image = admin.find_named("image", "/v2/images", "images", IMAGE).await?;
        let network = admin.find_named("network", "/v2.0/networks", "networks", NETWORK).await?;
        let mut command = process::program(&self.program);
        command.current_dir(&self.dir);
        command
            .env("SCHEMATHESIS_HOOKS", self.hooks.with_extension("").file_name().unwrap_or_default())
            .env("PYTHONPATH", self.hooks.parent().unwrap_or(&self.dir))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "127.0.0.1")
            .env("KILONOVA_FUZZ_URL", admin.compute_url())
            .env("KILONOVA_FUZZ_TOKEN", admin.token())
            .env("KILONOVA_FUZZ_IMAGE", text(&image["id"])?)
            .env("KILONOVA_FUZZ_NETWORK", text(&network["id"])?);
        command.arg("--config-file").arg(&self.config);
        command.arg("run").arg(document_url(admin.compute_url())).args(["--url", admin.compute_url()]);
        command.args(["--header", &format!("X-Auth-Token: {}", admin.token())]);
        command.args(["--checks", CHECKS, "--phases", "coverage,fuzzing", "--no-color", "--continue-on-failure"]);
        command.args(["--suppress-health-check", "all", "--warnings", "off", "--no-shrink"]);
        command.args(["--generation-database", "none", "--request-timeout", "60"]);
        command.args(["--report", "ndjson", "--report-dir"]).arg(self.dir.join("report"));
        command.args(["--max-time", &(self.options.minutes * 60).to_string()]);
        if let Some(seed) = self.options.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(path) = &self.options.path {
            command.args(["--include-path-regex", path]);
        }
        Ok(command)
    }
}

/// The document is beside the API's versions.
fn document_url(compute: &str) -> String {
    let base = compute.trim_end_matches('/');
    let base = base.rsplit_once("/v2").map_or(base, |(base, _)| base);
    format!("{base}/openapi.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_beside_the_versions() {
        assert_eq!(document_url("http://127.0.0.1:1/compute/v2.1"), "http://127.0.0.1:1/compute/openapi.json");
        assert_eq!(document_url("http://127.0.0.1:1/v2.1/"), "http://127.0.0.1:1/openapi.json");
    }
}
