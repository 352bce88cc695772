//! A `kilonova up` as a child process: started, its few lines of stdout read, and stopped as Ctrl-C would. Its log goes
//! to a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::process;

/// Longer than a first start takes on a slow disk.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How to start a cloud.
pub(crate) struct CloudOptions<'a> {
    /// The kilonova binary.
    pub(crate) binary: &'a Path,
    /// Arguments after `up`.
    pub(crate) arguments: Vec<std::ffi::OsString>,
    /// Where its stderr goes.
    pub(crate) log: PathBuf,
}

/// A started `kilonova up`; it is killed when dropped before `stop`.
pub(crate) struct Cloud {
    child: Child,
    log: PathBuf,
}

/// What it says on stdout once it serves.
pub(crate) struct Ready {
    pub(crate) endpoint: String,
    pub(crate) clouds_yaml: PathBuf,
}

impl Cloud {
    /// Starts the process, in a group of its own: Ctrl-C reaches it through `stop` only.
    pub(crate) fn spawn(options: CloudOptions<'_>) -> anyhow::Result<Self> {
        let log = File::create(&options.log).with_context(|| format!("cannot write {}", options.log.display()))?;
        let mut command = process::program(options.binary);
        command.arg("up").args(&options.arguments).process_group(0);
        // its log is a file, and of its errors the sentence is wanted, not where it was made
        command.env("NO_COLOR", "1").env("RUST_LIB_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", options.binary.display()))?;
        Ok(Self { child, log: options.log })
    }

    /// Waits for the lines that say where everything is.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<Ready> {
        match tokio::time::timeout(READY_TIMEOUT, self.read_ready()).await {
            Ok(Some(ready)) => Ok(ready),
            Ok(None) => Err(self.ended().await),
            Err(_) => {
                bail!("{}\nkilonova did not serve within {} s", self.log_end(), READY_TIMEOUT.as_secs())
            }
        }
    }

    async fn read_ready(&mut self) -> Option<Ready> {
        let mut lines = BufReader::new(self.child.stdout.take()?).lines();
        let (mut endpoint, mut clouds_yaml) = (None, None);
        while endpoint.is_none() || clouds_yaml.is_none() {
            let line = lines.next_line().await.ok()??;
            match line.split_once(char::is_whitespace) {
                Some(("endpoint", value)) => endpoint = Some(value.trim().to_owned()),
                Some(("clouds", value)) => clouds_yaml = Some(PathBuf::from(value.trim())),
                _ => {}
            }
        }
        // reading goes on, so that what it may print later finds no closed pipe
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Ready { endpoint: endpoint?, clouds_yaml: clouds_yaml? })
    }

    /// The process id; the process lives at least until `stop`.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.child.id().context("kilonova has ended")?)?)
    }

    /// Waits for an end that nobody asked for, and says what is known about it.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("{}\nkilonova ended by itself ({status})", self.log_end()),
            Err(error) => error.into(),
        }
    }

    /// Ends it in an orderly way: SIGTERM, and status 0 within the bound.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid()?).context("kilonova has no process id")?;
        kill_process(pid, Signal::TERM)?;
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
            Ok(status) => bail!("{}\nkilonova ended with {}", self.log_end(), status?),
            Err(_) => bail!("kilonova did not end within {} s of SIGTERM", STOP_TIMEOUT.as_secs()),
        }
    }

    /// The last lines of its log, under a heading.
    fn log_end(&self) -> String {
        match std::fs::read(&self.log) {
            Ok(log) => format!("its log ends:\n{}", process::last_lines(&String::from_utf8_lossy(&log), 15)),
            Err(error) => format!("its log {} cannot be read: {error}", self.log.display()),
        }
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in place of kilonova.
    fn start(script: &str) -> (Cloud, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kilonova");
        let log = dir.path().join("log");
        (Cloud::spawn(CloudOptions { binary: &binary, arguments: vec![script.into()], log }).unwrap(), dir)
    }

    const READY: &str = "echo 'endpoint   http://127.0.0.1:1'; echo 'clouds     /x/clouds.yaml'; echo 'try        y'";

    #[tokio::test]
    async fn what_it_says_is_read_and_it_stops_when_asked() {
        let (mut cloud, _dir) = start(&format!("trap 'exit 0' TERM; {READY}; while :; do sleep 0.01; done"));
        let ready = cloud.ready().await.unwrap();
        assert_eq!(ready.endpoint, "http://127.0.0.1:1");
        assert_eq!(ready.clouds_yaml, Path::new("/x/clouds.yaml"));
        cloud.stop().await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_is_told_with_the_log() {
        let (mut cloud, _dir) = start("echo the port is taken >&2; exit 7");
        let error = cloud.ready().await.err().unwrap().to_string();
        assert!(error.ends_with("the port is taken\nkilonova ended by itself (exit status: 7)"), "{error}");
    }

    #[tokio::test]
    async fn a_bad_status_at_the_end_is_an_error() {
        let (mut cloud, _dir) = start(&format!("trap 'exit 3' TERM; {READY}; while :; do sleep 0.01; done"));
        cloud.ready().await.unwrap();
        assert!(cloud.stop().await.unwrap_err().to_string().contains("exit status: 3"));
    }
}
