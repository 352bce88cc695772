//! The command line.

mod up;

use clap::{Parser, Subcommand};

/// OpenStack Compute in one binary.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a whole cloud on this machine, in this process.
    Up(up::Up),
}

impl Command {
    /// Runs the command to its end.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Up(up) => up.run().await,
        }
    }
}
