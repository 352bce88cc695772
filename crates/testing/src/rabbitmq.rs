//! RabbitMQ, with a port mapper of its own.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, free_port, run};

/// Beside the wrapper of the package, which insists on a user and on directories below /var.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A broker with the user `guest` and the virtual host `/`.
#[derive(Debug)]
pub struct RabbitMq {
    server: Option<Server>,
    _port_mapper: Server,
    port: u16,
    port_mapper_port: u16,
    dist_port: u16,
    /// Last: it goes when everything in it has ended.
    dir: TempDir,
}

impl RabbitMq {
    /// Starts a broker; it takes some seconds.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("", &[])
    }

    /// Starts one with more lines in its configuration, and with these plugins.
    pub fn start_with(config: &str, plugins: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kilonova-rabbitmq-").tempdir()?;
        let (port, port_mapper_port, dist_port) = (free_port()?, free_port()?, free_port()?);
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users.guest = true\ntotal_memory_available_override_value = \
             2GB\ndisk_free_limit.absolute = 1MB\n{config}"
        );
        std::fs::write(dir.path().join("rabbitmq.conf"), config)?;
        std::fs::write(dir.path().join("enabled_plugins"), format!("[{}].\n", plugins.join(",")))?;
        std::fs::write(dir.path().join("rabbitmq-env.conf"), "")?;
        let mut epmd = command("epmd", None);
        epmd.args(["-address", "127.0.0.1", "-port", &port_mapper_port.to_string()]);
        let log = dir.path().join("epmd.log");
        let port_mapper = Server::start(epmd, &log, || TcpStream::connect(local(port_mapper_port)).is_ok())?;
        let mut broker = Self { server: None, _port_mapper: port_mapper, port, port_mapper_port, dist_port, dir };
        broker.start_again()?;
        Ok(broker)
    }

    /// `rabbit://guest:guest@127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("rabbit://guest:guest@127.0.0.1:{}/", self.port)
    }

    /// Where AMQP is spoken.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the broker's Erlang, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// SIGKILL: what was not on disk is gone.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// An orderly end.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::TERM);
        }
    }

    /// Connections stay open, and nothing answers, until [`RabbitMq::resume`].
    pub fn pause(&self) {
        if let Some(server) = &self.server {
            server.signal(Signal::STOP);
        }
    }

    /// The end of a pause.
    pub fn resume(&self) {
        if let Some(server) = &self.server {
            server.signal(Signal::CONT);
        }
    }

    /// Starts it on the same port with what it kept; a no-op while it runs.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let mut rabbit = command(format!("{PROGRAMS}/rabbitmq-server"), None);
        self.environment(&mut rabbit);
        // Without this a shell stands between us and Erlang, which gets `-noinput` so that it needs none.
        rabbit.env("RABBITMQ_ALLOW_INPUT", "1");
        let server = Server::start(rabbit, &self.dir.path().join("rabbitmq.log"), || speaks_amqp(self.port));
        self.server = Some(server.context("RabbitMQ")?);
        Ok(())
    }

    /// Runs `rabbitmqctl` with these arguments and returns what it printed. It takes a second or two.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut rabbitmqctl = Command::new(format!("{PROGRAMS}/rabbitmqctl"));
        self.environment(&mut rabbitmqctl);
        run(rabbitmqctl.arg("--quiet").args(arguments))
    }

    fn environment(&self, command: &mut Command) {
        let path = |name: &str| -> PathBuf { self.dir.path().join(name) };
        command
            .env("HOME", self.dir.path())
            .env("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("RABBITMQ_NODENAME", format!("kilonova{}@localhost", self.port))
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-noinput +S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("ERL_EPMD_PORT", self.port_mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
    }
}

fn local(port: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::LOCALHOST, port)
}

/// Whether a broker greets whoever greets it.
fn speaks_amqp(port: u16) -> bool {
    let greet = || {
        let mut stream = TcpStream::connect(local(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut frame = [0; 7];
        stream.read_exact(&mut frame)?;
        std::io::Result::Ok(frame[0] == 1)
    };
    greet().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_starts_and_comes_back_after_a_kill() {
        let mut broker = RabbitMq::start().unwrap();
        assert!(broker.rabbitmqctl(&["list_users"]).unwrap().contains("guest"));
        broker.kill();
        assert!(!speaks_amqp(broker.port()));
        broker.start_again().unwrap();
        assert!(speaks_amqp(broker.port()));
        broker.stop();
        assert!(!speaks_amqp(broker.port()));
    }
}
