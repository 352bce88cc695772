//! Developer commands, `cargo xtask COMMAND`: each is one module. What a command needs that the machine lacks (packages,
//! tools, images), it makes, says so, and reuses the next time.

mod api;
mod bench;
mod cargo;
mod check;
mod cloud;
mod fuzz_api;
mod guest_image;
mod interrupt;
mod novnc;
mod oracle;
mod packages;
mod process;
mod processes;
mod progress;
mod python;
mod tempest;
mod test;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Developer commands of Kilonova.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From nothing to a cloud with a guest in it: installs, builds, boots, logs in, and keeps the cloud running.
    Up(up::Options),
    /// Runs every test; installs what the tests need.
    Test(test::Options),
    /// Checks what no test does: format, lints, who depends on whom, licences.
    Check,
    /// Builds target/guest-image/guest.qcow2.
    GuestImage,
    /// Holds the answers of the API's tests against the response schemas of Nova's own controllers.
    Oracle,
    /// Asks OpenStack's Placement the same as Kilonova's, and compares the answers.
    PlacementOracle,
    /// Makes requests of what our OpenAPI document says, and fails on answers that it does not have, and on 5xx.
    FuzzApi(fuzz_api::Options),
    /// Measures a release build and prints the figures beside their targets.
    Bench(bench::Options),
    /// Runs tempest's tests of the compute API against a cloud of its own.
    Tempest(tempest::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Xtask::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find().await?;
    match command {
        Command::Up(options) => up::run(&workspace, options).await,
        Command::Test(options) => test::run(&workspace, options).await,
        Command::Check => check::run(&workspace).await,
        Command::GuestImage => guest_image::run(&workspace).await,
        Command::Oracle => oracle::nova(&workspace).await,
        Command::PlacementOracle => oracle::placement(&workspace).await,
        Command::FuzzApi(options) => fuzz_api::run(&workspace, options).await,
        Command::Bench(options) => bench::run(&workspace, options).await,
        Command::Tempest(options) => tempest::run(&workspace, options).await,
    }
}
