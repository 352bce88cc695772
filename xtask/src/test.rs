//! `cargo xtask test`: every test there is, or with `--quick` the fast ones. What is missing for them is installed
//! first; without it there would be fewer tests, so failing to install ends the run.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use kilonova_testing::{MariaDb, PostgreSql, RabbitMq};

use crate::packages::{self, GUEST_IMAGE, PYTHON, QEMU, SERVERS, SSH};
use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, check, guest_image, process, python};

/// Options of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Without the tests that take long: those with a QEMU, and those that see the built program from outside.
    #[arg(long)]
    quick: bool,
}

/// What the tests find in their environment.
struct Outside {
    openstack: PathBuf,
    oslo_python: PathBuf,
    guest_image: PathBuf,
    rabbitmq: RabbitMq,
    postgresql: PostgreSql,
    mariadb: MariaDb,
}

/// Runs the checks and the tests, all of them also where some fail, and sums up.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> anyhow::Result<()> {
    let everything = Step::loud("cargo xtask test");
    cargo::ensure_nextest(workspace).await?;
    let outside = if options.quick { None } else { Some(prepare(workspace).await?) };
    let results = [
        ("format, lints, crate graph, licences", check::run(workspace).await),
        ("tests", nextest(workspace, outside.as_ref()).await),
        ("documentation's examples", doc_tests(workspace).await),
    ];
    println!("\nsummary");
    for (name, result) in &results {
        match result {
            Ok(()) => println!("  ok      {name}"),
            Err(error) => println!("  FAILED  {name}: {error:#}"),
        }
    }
    let failed: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    everything.done(if options.quick { "passed, without the slow tests" } else { "passed" });
    Ok(())
}

async fn prepare(workspace: &Workspace) -> anyhow::Result<Outside> {
    packages::ensure(&[&QEMU, &GUEST_IMAGE, &SSH, &PYTHON, &SERVERS]).await?;
    let openstack = python::ensure_openstack_client(workspace).await?;
    let oslo_python = python::ensure_oslo_messaging(workspace).await?;
    let guest_image = guest_image::build(workspace).await?;
    let step = Step::quiet("starting RabbitMQ, PostgreSQL and MariaDB on the loopback");
    let (rabbitmq, postgresql, mariadb) = (RabbitMq::start()?, PostgreSql::start()?, MariaDb::start()?);
    step.done("");
    Ok(Outside { openstack, oslo_python, guest_image, rabbitmq, postgresql, mariadb })
}

async fn nextest(workspace: &Workspace, outside: Option<&Outside>) -> anyhow::Result<()> {
    let step = Step::loud("tests (cargo nextest)");
    let mut nextest = process::cargo(workspace.root());
    nextest.args(["nextest", "run", "--workspace"]);
    if let Some(outside) = outside {
        nextest.args(["--profile", "ci"]);
        nextest.env("KILONOVA_OPENSTACK", &outside.openstack).env("KILONOVA_GUEST_IMAGE", &outside.guest_image);
        nextest
            .env("KILONOVA_OSLO_PYTHON", &outside.oslo_python)
            .env(kilonova_testing::RABBITMQ_URL, outside.rabbitmq.url())
            .env(kilonova_testing::POSTGRESQL_URL, outside.postgresql.url())
            .env(kilonova_testing::MARIADB_URL, outside.mariadb.url());
    }
    process::run(&mut nextest).await?;
    step.done("");
    Ok(())
}

async fn doc_tests(workspace: &Workspace) -> anyhow::Result<()> {
    let step = Step::quiet("documentation's examples (cargo test --doc)");
    process::run_quietly(process::cargo(workspace.root()).args(["test", "--workspace", "--doc", "--quiet"])).await?;
    step.done("");
    Ok(())
}
