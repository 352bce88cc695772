//! Logging in to the guest as a user would, with the key pair that the cloud made.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::guest::{self, Guest};
use crate::api::Api;
use crate::process;
use crate::progress::Step;

const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
const COMMAND: &str = "uname -a; hostname";

/// Runs a command in the guest; again while ssh is not up yet.
pub(super) async fn login(api: &Api, guest: &Guest) -> anyhow::Result<()> {
    let arguments = guest.ssh_arguments().context("the server's metadata does not say how ssh reaches it")?;
    let step = Step::loud("logging in by ssh");
    println!("    $ ssh {} '{COMMAND}'", arguments.join(" "));
    let started = Instant::now();
    loop {
        let failure = match tokio::time::timeout(ATTEMPT_TIMEOUT, attempt(&arguments)).await {
            Ok(Ok(output)) => {
                output.lines().for_each(|line| println!("    | {line}"));
                step.done("");
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer for {} s", ATTEMPT_TIMEOUT.as_secs()),
        };
        if started.elapsed() > LOGIN_TIMEOUT {
            let console = guest::console_end(api, guest.id()).await;
            bail!("{console}\nno login by ssh within {} s: {failure:#}", LOGIN_TIMEOUT.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(arguments: &[String]) -> anyhow::Result<String> {
    let mut ssh = process::program("ssh");
    // neither the user's configuration nor the user's agent has a say
    ssh.args(["-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]);
    process::capture(ssh.stdin(Stdio::null()).args(arguments).arg(COMMAND)).await
}
