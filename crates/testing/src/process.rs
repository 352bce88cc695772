//! One server process: where it lives, how it starts, how it ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take to start or to end.
const BOUND: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// Where ports are looked for: below those that Linux gives to outgoing connections, which would take one away between the
/// look and the start of a server, or while a server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of the loopback that is free now and that this process was not given before.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..PORTS.len() {
        let random = RandomState::new().build_hasher().finish() % PORTS.len() as u64;
        let port = PORTS.start + u16::try_from(random)?;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port")
}

/// A program that dies with its parent, as `user` if the parent is root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// Runs a command to its end; an error has what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// A running server: the leader of a process group of its own.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it and waits until `is_ready`. What it prints goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path, is_ready: impl Fn() -> bool) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut server = Self { child };
        let deadline = Instant::now() + BOUND;
        while !is_ready() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{command:?} did not start ({ended:?}):\n{said}");
            }
            std::thread::sleep(POLL);
        }
        Ok(server)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and kills it after the bound.
    pub(crate) fn stop(&mut self, signal: Signal) {
        let Some(group) = self.group() else { return };
        let _ = rustix::process::kill_process(group, signal);
        let deadline = Instant::now() + BOUND;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.kill();
    }

    /// SIGKILL for it and all that it started, and the end of them: PostgreSQL's sessions have process groups of their
    /// own, and as long as one of them lives, the server does not start again.
    pub(crate) fn kill(&mut self) {
        if let (Some(group), Ok(None)) = (self.group(), self.child.try_wait()) {
            // Stopped, it starts no others.
            let _ = rustix::process::kill_process(group, Signal::STOP);
            let children = children(group);
            let _ = kill_process_group(group, Signal::KILL);
            for child in &children {
                let _ = rustix::process::kill_process(*child, Signal::KILL);
            }
            let deadline = Instant::now() + BOUND;
            while children.iter().any(|child| is_alive(*child)) && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        let _ = self.child.wait();
    }

    /// SIGSTOP or SIGCONT for it and all that it started.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, signal);
        }
    }

    fn group(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }
}

/// The children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let pid = of.as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// Whether it runs: one that has ended and that nobody has waited for does not.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
