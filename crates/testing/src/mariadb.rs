//! MariaDB.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, free_port, run};

/// A server with the superuser `root`, who needs no password.
#[derive(Debug)]
pub struct MariaDb {
    server: Option<Server>,
    port: u16,
    /// Last: it goes when the server has ended.
    dir: TempDir,
}

impl MariaDb {
    /// Makes a data directory and starts a server on it; it takes some seconds.
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kilonova-mariadb-").tempdir()?;
        let mut install = command("mariadb-install-db", None);
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--datadir={}", dir.path().join("data").display()));
        // Not in /tmp: two that install at the same time would take each other's temporary tables away.
        run(install.args(as_user()).env("TMPDIR", dir.path()))?;
        let mut started = Self { server: None, port: free_port()?, dir };
        started.start_again()?;
        Ok(started)
    }

    /// `mysql://root@127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// An orderly end.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::TERM);
        }
    }

    /// Starts it on the same port with what it kept; a no-op while it runs.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut mariadbd = command("mariadbd", None);
        mariadbd.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=300"]);
        mariadbd.args([format!("--datadir={}", path("data")), format!("--socket={}", path("socket"))]);
        // It may be killed, but the machine stays up: what is written need not be on the disk.
        mariadbd.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--debug-no-sync"]);
        mariadbd.arg(format!("--port={}", self.port)).args(as_user()).env("TMPDIR", self.dir.path());
        let port = self.port;
        let server = Server::start(mariadbd, &self.dir.path().join("mariadbd.log"), || greets(port));
        self.server = Some(server.context("MariaDB")?);
        Ok(())
    }
}

/// As root it wants to be told that this is meant.
fn as_user() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["--user=root"] } else { &[] }
}

/// The server speaks first.
fn greets(port: u16) -> bool {
    let listen = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.read_exact(&mut [0; 5])
    };
    listen().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_and_comes_back_after_a_kill() {
        let mut server = MariaDb::start().unwrap();
        assert!(greets(server.port()));
        server.kill();
        assert!(!greets(server.port()));
        server.start_again().unwrap();
        server.stop();
        assert!(!greets(server.port()));
    }
}
