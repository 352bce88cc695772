//! `cargo xtask tempest`: OpenStack's own test suite against a cloud with the fake driver and two compute hosts.
//!
//! ```text
//! tempest, build ──> kilonova up ──> image, flavor, network ──> tempest.conf ──> tempest run ──> results
//!                                                                                                  │
//!                                      docs/tempest.md, unless a pattern chose the tests  <────────┘
//! ```
//!
//! The cloud's log, tempest's and its configuration stay below `target/tempest` until the next run.

mod config;
mod prepare;
mod report;
mod results;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::api::Account;
use crate::cloud::{Cloud, CloudOptions};
use crate::interrupt::Interrupt;
use crate::packages::{self, PYTHON};
use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, process, python};
use results::Results;

/// Every test of the compute API; those that change what all of a cloud sees are kept apart by tempest.
const COMPUTE: &str = r"^tempest\.(serial_tests\.)?api\.compute\.";
/// Asks for a network by its name, which the configuration of the others must not have: see `config`.
const OF_FIXED_NETWORK: &str = "tempest.api.compute.admin.test_networks.NetworksTest.test_list_all_networks";
/// SPICE consoles are there for who wants them.
const NOVA_CONF: &str = "[spice]\nenabled = true\n";
/// How many tests run at the same time.
const WORKERS: &str = "2";
const PAGE: &str = "docs/tempest.md";

/// Options of `cargo xtask tempest`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs only the tests that this regular expression finds, and leaves docs/tempest.md as it is.
    regex: Option<String>,
    /// Names the tests instead of running them.
    #[arg(long)]
    list: bool,
    /// A kilonova that is built already.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// The command. Tests that fail are results, not an error; that none could run is one.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> anyhow::Result<()> {
    packages::ensure(&[&PYTHON]).await?;
    let tempest = Tempest { program: python::ensure_tempest(workspace).await?, dir: workspace.target("tempest") };
    tempest.clear().await?;
    let regex = options.regex.as_deref().unwrap_or(COMPUTE);
    let tests = tempest.list(regex).await?;
    if options.list {
        println!("{}", tests.join("\n"));
        return Ok(());
    }
    let binary = match options.binary {
        Some(binary) => binary,
        None => cargo::build_release(workspace).await?,
    };
    let mut interrupt = Interrupt::listen()?;
    let output = tokio::select! {
        output = tempest.run_in_cloud(&binary, regex, &tests) => output?,
        () = interrupt.received() => anyhow::bail!("interrupted"),
    };
    let results = Results::parse(&tests, &output);
    println!("\n{}", report::summary(&results));
    if options.regex.is_none() {
        std::fs::write(workspace.root().join(PAGE), report::page(&results))?;
        println!("every result is in {PAGE}");
    }
    Ok(())
}

/// The program, and the directory of a run.
struct Tempest {
    program: PathBuf,
    dir: PathBuf,
}

impl Tempest {
    /// Removes what the last run left, and makes the place where the runner keeps its results.
    async fn clear(&self) -> anyhow::Result<()> {
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let mut init = process::program(self.program.with_file_name("stestr"));
        process::capture(init.current_dir(&self.dir).arg("init")).await.map(drop)
    }

    /// The names of the tests that a regular expression finds.
    async fn list(&self, regex: &str) -> anyhow::Result<Vec<String>> {
        let conf = self.dir.join("list.conf");
        std::fs::write(&conf, "")?;
        let names = process::capture(self.command(&conf).args(["--list-tests", "--regex", regex])).await?;
        Ok(results::parse_list(&names))
    }

    /// Starts a cloud, runs the tests in it, stops it; returns what tempest printed.
    async fn run_in_cloud(&self, binary: &Path, regex: &str, tests: &[String]) -> anyhow::Result<String> {
        let step = Step::quiet("starting kilonova up with the fake driver and two hosts");
        let mut arguments: Vec<_> =
            ["--driver", "fake", "--fake-hosts", "2", "--listen", "127.0.0.1:0", "--state-dir"].map(Into::into).into();
        arguments.push(self.dir.join("cloud").into());
        let nova_conf = self.dir.join("nova.conf");
        std::fs::write(&nova_conf, NOVA_CONF)?;
        arguments.extend(["--config-file".into(), nova_conf.into()]);
        let mut cloud = Cloud::spawn(CloudOptions { binary, arguments, log: self.dir.join("kilonova.log") })?;
        let ready = cloud.ready().await?;
        step.done(&format!("{}, log in {}", ready.endpoint, cloud.log().display()));
        let account = Account::read(&ready.clouds_yaml, prepare::ADMIN)?;
        let prepared = prepare::prepare(&ready.clouds_yaml).await?;
        let conf = config::render(&self.dir, &account, &prepared)?;
        let all = async {
            let mut output = self.run("tempest.conf", &conf, regex).await?;
            if tests.iter().any(|test| test == OF_FIXED_NETWORK) {
                let only = format!("^{}", OF_FIXED_NETWORK.replace('.', r"\."));
                output += &self.run("fixed-network.conf", &config::with_fixed_network(&conf), &only).await?;
            }
            anyhow::Ok(output)
        };
        let output = tokio::select! {
            output = all => output?,
            error = cloud.ended() => return Err(error),
        };
        cloud.stop().await?;
        Ok(output)
    }

    /// Runs with a configuration that is kept in the file `name`.
    async fn run(&self, name: &str, conf: &str, regex: &str) -> anyhow::Result<String> {
        let step = Step::loud("tempest run");
        let file = self.dir.join(name);
        std::fs::write(&file, conf)?;
        let mut command = self.command(&file);
        let (status, output) =
            process::run_and_keep(command.args(["--concurrency", WORKERS, "--regex", regex])).await?;
        // it is 1 when a test failed, and whether one ran at all its output says
        anyhow::ensure!(results::has_totals(&output), "tempest ended without results: {status}");
        step.done("");
        Ok(output)
    }

    fn command(&self, conf: &Path) -> tokio::process::Command {
        let mut command = process::program(&self.program);
        command.current_dir(&self.dir).arg("run").arg("--config-file").arg(conf);
        command
    }
}
