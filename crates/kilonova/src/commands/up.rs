//! `kilonova up`: a cloud on one machine, without configuration.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use kilonova_core::Config;
use tokio::signal::unix::{SignalKind, signal};

use crate::cloud::{Cloud, CloudOptions};
use crate::process::CONFIG_DIR;
use crate::{logging, state_dir};

/// What runs the guests.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DriverName {
    /// Real guests: QEMU, with KVM where the processor has it.
    Qemu,
    /// No guests at all: for trying out and for tests.
    Fake,
}

/// Options of `kilonova up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// What runs the guests; the default is what `[DEFAULT] compute_driver` says, else qemu.
    #[arg(long)]
    driver: Option<DriverName>,
    /// Where everything is kept: database, images, guests, credentials.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Address and port of all services; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8774")]
    listen: SocketAddr,
    /// A nova.conf; may be given more than once, later ones win.
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// A directory of *.conf files, read after the files.
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// A qcow2 image that every project sees under the name "guest".
    #[arg(long, value_name = "FILE")]
    guest_image: Option<PathBuf>,
    /// How many compute hosts the fake driver plays.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    fake_hosts: u16,
}

impl Up {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let cloud = tokio::select! {
            started = Cloud::start(self.options()?) => started?,
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        };
        announce(&cloud);
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            () = cloud.failed() => bail!("a part of the cloud cannot go on: see the log"),
        }
        tracing::info!("shutting down; guests go on running");
        cloud.stop().await;
        Ok(())
    }

    fn options(&self) -> anyhow::Result<CloudOptions> {
        let config = Config::load(&self.config_file, &self.config_dir).context("the configuration cannot be used")?;
        let is_configured = !self.config_file.is_empty() || !self.config_dir.is_empty();
        let config = if is_configured { config.with_place(Path::new(CONFIG_DIR)) } else { config };
        // Where there is one host, there is no other one to go to.
        let config = config.with_default("DEFAULT", "allow_resize_to_same_host", "true");
        logging::set_level(&config)?;
        let configured = config.get("DEFAULT", "compute_driver");
        let driver = match (self.driver, configured) {
            (Some(DriverName::Qemu), _) | (None, None) => "qemu".to_owned(),
            (Some(DriverName::Fake), _) => "fake".to_owned(),
            (None, Some(name)) => name,
        };
        let state_dir = self.state_dir.clone().map_or_else(state_dir::default, Ok)?;
        Ok(CloudOptions {
            host: hostname(),
            config,
            driver,
            state_dir,
            listen: self.listen,
            guest_image: self.guest_image.clone(),
            hosts: usize::from(self.fake_hosts),
            faults: None,
        })
    }
}

/// The only words on stdout: what a person, or a script, needs to go on. Nobody has to listen.
fn announce(cloud: &Cloud) {
    let clouds_yaml = cloud.clouds_yaml().display();
    let words = format!(
        "endpoint   http://{}\nclouds     {clouds_yaml}\ntry        OS_CLIENT_CONFIG_FILE={clouds_yaml} openstack \
         --os-cloud kilonova server list\n",
        cloud.address()
    );
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(words.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "stdout is closed");
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
