//! PostgreSQL.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, free_port, run};

const USER: &str = "postgres";

/// A server with the superuser `postgres`, who needs no password.
#[derive(Debug)]
pub struct PostgreSql {
    server: Option<Server>,
    port: u16,
    programs: PathBuf,
    /// Last: it goes when the server has ended.
    dir: TempDir,
}

impl PostgreSql {
    /// Makes a cluster and starts it; it takes some seconds.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kilonova-postgresql-").tempdir()?;
        if rustix::process::geteuid().is_root() {
            run(std::process::Command::new("chown").arg(USER).arg(dir.path()))?;
        }
        let programs = programs()?;
        let mut initdb = command(programs.join("initdb"), Some(USER));
        initdb.args(["--no-sync", "--auth", "trust", "--username", USER, "--encoding", "UTF8", "--locale", "C", "-D"]);
        run(initdb.arg(dir.path().join("data")).current_dir("/"))?;
        let mut started = Self { server: None, port: free_port()?, programs, dir };
        started.start_again()?;
        Ok(started)
    }

    /// `postgresql://postgres@127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Ends it, and the sessions of its clients with it.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::INT);
        }
    }

    /// Starts it on the same port with what it kept; a no-op while it runs.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        // A killed server leaves it behind, and its number may be somebody else's by now.
        let _ = std::fs::remove_file(self.dir.path().join("data/postmaster.pid"));
        let mut postgres = command(self.programs.join("postgres"), Some(USER));
        postgres.current_dir("/").arg("-D").arg(self.dir.path().join("data"));
        let socket_dir = format!("unix_socket_directories={}", self.dir.path().display());
        let port = format!("port={}", self.port);
        let options = [socket_dir.as_str(), &port, "listen_addresses=127.0.0.1", "fsync=off", "max_connections=200"];
        for option in options {
            postgres.args(["-c", option]);
        }
        let (programs, port) = (&self.programs, self.port);
        let server = Server::start(postgres, &self.dir.path().join("postgres.log"), || accepts(programs, port));
        self.server = Some(server.context("PostgreSQL")?);
        Ok(())
    }
}

/// Listening is not enough: it may still be recovering.
fn accepts(programs: &Path, port: u16) -> bool {
    let mut pg_isready = std::process::Command::new(programs.join("pg_isready"));
    pg_isready.args(["--quiet", "--host", "127.0.0.1", "--port", &port.to_string()]);
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && run(&mut pg_isready).is_ok()
}

/// The newest version's directory of programs, which Debian keeps off the PATH.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version);
    Ok(newest.context("PostgreSQL is not installed")?.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_and_comes_back_after_a_kill() {
        let mut server = PostgreSql::start().unwrap();
        assert!(accepts(&server.programs, server.port()));
        server.kill();
        assert!(!accepts(&server.programs, server.port()));
        server.start_again().unwrap();
        server.stop();
        assert!(!accepts(&server.programs, server.port()));
    }
}
