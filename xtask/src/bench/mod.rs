//! `cargo xtask bench`: the figures that Kilonova promises, measured on a release build through the public API, beside
//! their targets. The load comes from this process: closed loops, so that a slow server is asked less, never flooded.

mod fake;
mod load;
mod qemu;
mod rabbit;
mod report;
mod scheduler;
mod services;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde_json::json;

use crate::api::Api;
use crate::cloud::{Cloud, CloudOptions, Ready};
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::{cargo, guest_image, packages, process, processes};
use report::Row;

/// Options of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Puts the table into docs/performance.md, too.
    #[arg(long)]
    write: bool,
    /// Measures calls and casts over RabbitMQ instead, beside Python's oslo.messaging.
    #[arg(long)]
    rabbit: bool,
    /// Measures the scheduler alone instead, on 1,000 to 100,000 hosts.
    #[arg(long)]
    scheduler: bool,
}

/// The command. A figure that misses its target is marked in the table; a server that is lost is an error.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> anyhow::Result<()> {
    if options.rabbit {
        // what makes the load is built for itself
        let rows = rabbit::measure(workspace).await?;
        return report(workspace, &options, "cargo xtask bench --rabbit", rows).await;
    }
    if options.scheduler {
        let rows = scheduler::measure(workspace).await?;
        return report(workspace, &options, "cargo xtask bench --scheduler", rows).await;
    }
    if cfg!(debug_assertions) {
        return Err(become_optimised(workspace));
    }
    packages::ensure(&[&packages::SERVERS]).await?;
    let binary = cargo::build_release(workspace).await?;
    let guest_image = if packages::has_qemu().await {
        packages::ensure(&[&packages::GUEST_IMAGE]).await?;
        Some(guest_image::build(workspace).await?)
    } else {
        println!("    no QEMU here (`cargo xtask up` installs it): its figure is left out");
        None
    };
    let dir = workspace.target(&format!("bench/{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let bench = Bench { binary, dir };
    let mut interrupt = Interrupt::listen()?;
    let rows = tokio::select! {
        rows = measure(&bench, guest_image.as_deref()) => rows,
        () = interrupt.received() => Err(anyhow::anyhow!("interrupted")),
    };
    processes::end_guests_of(&bench.dir)?;
    let rows = rows.with_context(|| format!("failed (logs in {})", bench.dir.display()))?;
    std::fs::remove_dir_all(&bench.dir)?;
    report(workspace, &options, "cargo xtask bench", rows).await
}

async fn report(workspace: &Workspace, options: &Options, command: &'static str, rows: Vec<Row>) -> anyhow::Result<()> {
    let report = report::Report::new(workspace, command, rows).await?;
    println!("\n{}", report.markdown());
    if options.write {
        let page = workspace.root().join("docs/performance.md");
        report.write_into(&page)?;
        println!("written to {}", page.display());
    }
    Ok(())
}

/// Load that is made without optimisation takes as much of the processor as the answers to it. Returns only if this
/// process cannot be replaced.
fn become_optimised(workspace: &Workspace) -> anyhow::Error {
    println!("==> building xtask (release): what makes the load must not be what is slow ...");
    let mut cargo = process::cargo(workspace.root());
    cargo.args(["run", "--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    anyhow::Error::new(cargo.as_std_mut().exec()).context("cannot start cargo")
}

async fn measure(bench: &Bench, guest_image: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let mut rows = fake::measure(bench).await?;
    if let Some(guest_image) = guest_image {
        rows.push(qemu::measure(bench, guest_image).await?);
    }
    rows.extend(services::measure(bench).await?);
    Ok(rows)
}

/// What is measured, and where it may keep files.
struct Bench {
    binary: PathBuf,
    dir: PathBuf,
}

/// A cloud that serves, and its two users.
struct Started {
    cloud: Cloud,
    member: Api,
}

impl Bench {
    /// Starts `kilonova up` on an empty state directory of this name.
    fn spawn(&self, name: &str, listen: &str, more: &[OsString]) -> anyhow::Result<Cloud> {
        let state_dir = self.dir.join(name);
        let mut arguments: Vec<OsString> =
            vec!["--state-dir".into(), state_dir.into(), "--listen".into(), listen.into()];
        arguments.extend_from_slice(more);
        Cloud::spawn(CloudOptions { binary: &self.binary, arguments, log: self.dir.join(format!("{name}.log")) })
    }

    /// Logs in to a cloud that serves, and takes the quotas away from the project that the load runs in.
    async fn enter(&self, cloud: Cloud, ready: &Ready) -> anyhow::Result<Started> {
        let member = Api::login(&ready.clouds_yaml, "kilonova").await?;
        let admin = Api::login(&ready.clouds_yaml, "kilonova-admin").await?;
        let path = format!("/os-quota-sets/{}", member.project_id());
        let unlimited = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        admin.compute(Method::PUT, &path, Some(&unlimited)).await?.ok().context("cannot raise the quotas")?;
        Ok(Started { cloud, member })
    }
}
