//! The command line.
//!
//! Under the name of one of Nova's programs (`nova-compute`, a link to `kilonova`) the binary is that program.

mod manage;
mod openapi;
mod policy;
mod up;

use std::ffi::OsString;
use std::path::Path;

use clap::{Parser, Subcommand};

use crate::process::{self, Role};

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
    /// Runs the web API, as nova-api does.
    Api(process::Options),
    /// Runs a scheduler, as nova-scheduler does.
    Scheduler(process::Options),
    /// Runs a conductor, as nova-conductor does.
    Conductor(process::Options),
    /// Runs the guests of this host, as nova-compute does.
    Compute(process::Options),
    /// Runs the Placement API.
    Placement(process::Options),
    /// Runs identity, image, network and placement for a cloud that has no others.
    Standalone(process::Options),
    /// Leads browsers to the screens of guests, as nova-novncproxy does.
    Novncproxy(process::Options),
    /// Leads WebSockets to the serial ports of guests, as nova-serialproxy does.
    Serialproxy(process::Options),
    /// Looks after the database and the services, as nova-manage does.
    Manage(manage::Manage),
    /// Shows, tries and checks the rules that say who may do what.
    Policy(policy::PolicyCommand),
    /// Prints a description of the compute API, in OpenAPI 3.1.
    Openapi,
}

/// The end of a command that says by its status what came of it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Exit {
    /// What the process ends with.
    pub status: u8,
    message: String,
}

impl Exit {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// All was said.
    fn silent(status: u8) -> Self {
        Self::new(status, "")
    }
}

/// Nova's programs, and what they are here.
const PROGRAMS: [(&str, &str); 8] = [
    ("nova-api", "api"),
    ("nova-scheduler", "scheduler"),
    ("nova-conductor", "conductor"),
    ("nova-compute", "compute"),
    ("nova-manage", "manage"),
    ("nova-novncproxy", "novncproxy"),
    ("nova-serialproxy", "serialproxy"),
    ("placement-api", "placement"),
];

impl Command {
    /// What the words of a command line ask for; ends the process where they ask for nothing that there is.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Self {
        Self::parse_from(with_verb(args))
    }

    /// Runs the command to its end.
    pub async fn run(self) -> anyhow::Result<()> {
        let (role, options) = match &self.verb {
            Verb::Up(up) => return up.run().await,
            Verb::Manage(manage) => return manage.run().await,
            Verb::Policy(policy) => return policy.run(),
            Verb::Openapi => return openapi::run(),
            Verb::Api(options) => (Role::Api, options),
            Verb::Scheduler(options) => (Role::Scheduler, options),
            Verb::Conductor(options) => (Role::Conductor, options),
            Verb::Compute(options) => (Role::Compute, options),
            Verb::Placement(options) => (Role::Placement, options),
            Verb::Standalone(options) => (Role::Standalone, options),
            Verb::Novncproxy(options) => (Role::NoVncProxy, options),
            Verb::Serialproxy(options) => (Role::SerialProxy, options),
        };
        process::run(role, options).await
    }
}

/// The command line with the verb that the program's name stands for.
fn with_verb(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    let program = args.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default().to_owned();
    if let Some((_, verb)) = PROGRAMS.iter().find(|(name, _)| program == *name) {
        args.insert(1, OsString::from(verb));
    }
    args
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn novas_programs_are_verbs() {
        for (name, verb) in PROGRAMS {
            let words = with_verb([format!("/usr/bin/{name}"), "--config-file=n.conf".to_owned()].map(OsString::from));
            assert_eq!(words[1], verb);
            assert!(Command::command().find_subcommand(verb).is_some());
        }
        assert_eq!(with_verb(["kilonova", "up"].map(OsString::from)).len(), 2);
    }
}
