//! `cargo xtask up`: from a machine with nothing but Rust to a login in a guest of a running cloud.
//!
//! ```text
//! packages, build, guest image ──> kilonova up ──> key pair, server ──> console until login: ──> ssh
//!                                                                                                │
//!                                     until Ctrl-C; the guest goes on running  <── without --once ┤
//!                                     delete the server and the key pair, stop <── with --once ───┘
//! ```

mod console;
mod guest;
mod ssh;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::api::Api;
use crate::cloud::{Cloud, CloudOptions, Ready};
use crate::interrupt::Interrupt;
use crate::packages::{self, GUEST_IMAGE, QEMU, SSH};
use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, guest_image, processes};
use guest::Guest;

/// Options of `cargo xtask up`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ends after the login, having removed the guest; uses a directory and a port of its own.
    #[arg(long)]
    once: bool,
    /// What runs the guests; with `fake` there is no console and no login.
    #[arg(long, value_enum, default_value = "qemu")]
    driver: Driver,
    /// Where the cloud keeps everything [default: as `kilonova up`; with --once a new one below target/].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Address and port of the cloud [default: as `kilonova up`; with --once a free port].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Driver {
    Qemu,
    Fake,
}

/// The command.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> anyhow::Result<()> {
    let everything = Step::loud(if options.once { "cargo xtask up --once" } else { "cargo xtask up" });
    let guest_image = match options.driver {
        Driver::Qemu => {
            packages::ensure(&[&QEMU, &GUEST_IMAGE, &SSH]).await?;
            Some(guest_image::build(workspace).await?)
        }
        Driver::Fake => None,
    };
    let binary = cargo::build_release(workspace).await?;
    let place = Place::of(workspace, &options)?;
    // from here on there is something to put away
    let mut interrupt = Interrupt::listen()?;
    let step = Step::quiet("starting kilonova up");
    let mut cloud = Cloud::spawn(CloudOptions {
        binary: &binary,
        arguments: arguments(&options, &place, guest_image.as_deref()),
        log: place.log.clone(),
    })?;
    let ready = cloud.ready().await?;
    step.done(&format!("{}, log in {}", ready.endpoint, cloud.log().display()));
    let outcome = tokio::select! {
        outcome = show(&ready, options.driver) => outcome,
        error = cloud.ended() => {
            end_own_guests(&place)?;
            return Err(failed(error, &place));
        }
        () = interrupt.received() => Err(anyhow::anyhow!("interrupted")),
    };
    if options.once {
        return finish_once(outcome, cloud, &ready, &place, everything).await;
    }
    match outcome {
        Ok(guest) => {
            everything.done("");
            print_what_next(&ready, &guest);
            keep_running(cloud, interrupt, &guest).await
        }
        Err(error) => {
            cloud.stop().await?;
            Err(failed(error, &place))
        }
    }
}

/// Only a run with a directory of its own may say that nobody needs its guests any more.
fn end_own_guests(place: &Place) -> anyhow::Result<()> {
    place.own_dir.as_deref().map_or(Ok(()), processes::end_guests_of)
}

fn failed(error: anyhow::Error, place: &Place) -> anyhow::Error {
    error.context(format!("failed (log in {})", place.log.display()))
}

/// Where this cloud's files are.
struct Place {
    state_dir: Option<PathBuf>,
    log: PathBuf,
    /// To be removed after success: this run made it.
    own_dir: Option<PathBuf>,
}

impl Place {
    fn of(workspace: &Workspace, options: &Options) -> anyhow::Result<Self> {
        if !options.once {
            std::fs::create_dir_all(workspace.target(""))?;
            let log = workspace.target("kilonova-up.log");
            return Ok(Self { state_dir: options.state_dir.clone(), log, own_dir: None });
        }
        let dir = workspace.target(&format!("up-once/{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let state_dir = options.state_dir.clone().unwrap_or_else(|| dir.join("state"));
        Ok(Self { state_dir: Some(state_dir), log: dir.join("kilonova.log"), own_dir: Some(dir) })
    }
}

fn arguments(options: &Options, place: &Place, guest_image: Option<&Path>) -> Vec<OsString> {
    let driver = match options.driver {
        Driver::Qemu => "qemu",
        Driver::Fake => "fake",
    };
    let mut arguments: Vec<OsString> = vec!["--driver".into(), driver.into()];
    let free_port = || options.once.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    if let Some(listen) = options.listen.or_else(free_port) {
        arguments.extend(["--listen".into(), listen.to_string().into()]);
    }
    if let Some(state_dir) = &place.state_dir {
        arguments.extend(["--state-dir".into(), state_dir.into()]);
    }
    if let Some(guest_image) = guest_image {
        arguments.extend(["--guest-image".into(), guest_image.into()]);
    }
    arguments
}

/// Everything that is shown to work, through the public API.
async fn show(ready: &Ready, driver: Driver) -> anyhow::Result<Guest> {
    let step = Step::quiet("logging in to the cloud as the demo user");
    let api = Api::login(&ready.clouds_yaml, "kilonova").await?;
    step.done("");
    let state_dir = ready.clouds_yaml.parent().context("clouds.yaml is in no directory")?;
    let guest = guest::ensure(&api, state_dir).await?;
    if driver == Driver::Qemu {
        console::stream_until_login(&api, &guest).await?;
        ssh::login(&api, &guest).await?;
    }
    Ok(guest)
}

/// Removes the guest, stops the cloud, and, if all went well, removes the directory of this run.
async fn finish_once(
    outcome: anyhow::Result<Guest>,
    cloud: Cloud,
    ready: &Ready,
    place: &Place,
    everything: Step,
) -> anyhow::Result<()> {
    let removed = remove_guest(ready).await;
    let stopped = stop(cloud).await;
    if let Err(error) = outcome {
        // the reason comes last, so what else went wrong is told before it
        for trouble in [removed, stopped].into_iter().filter_map(Result::err) {
            println!("also: {trouble:#}");
        }
        end_own_guests(place)?;
        return Err(failed(error, place));
    }
    removed?;
    stopped?;
    if let Some(dir) = &place.own_dir {
        std::fs::remove_dir_all(dir)?;
    }
    everything.done("passed");
    Ok(())
}

async fn remove_guest(ready: &Ready) -> anyhow::Result<()> {
    let step = Step::quiet("deleting the server and the key pair");
    let api = Api::login(&ready.clouds_yaml, "kilonova").await?;
    guest::remove(&api).await?;
    step.done("");
    Ok(())
}

async fn stop(cloud: Cloud) -> anyhow::Result<()> {
    let step = Step::quiet("stopping kilonova");
    cloud.stop().await?;
    step.done("");
    Ok(())
}

async fn keep_running(mut cloud: Cloud, mut interrupt: Interrupt, guest: &Guest) -> anyhow::Result<()> {
    tokio::select! {
        () = interrupt.received() => {}
        error = cloud.ended() => return Err(error),
    }
    println!();
    stop(cloud).await?;
    println!("the server {} goes on running; `cargo xtask up` takes it over again", guest.name());
    Ok(())
}

fn print_what_next(ready: &Ready, guest: &Guest) {
    println!(
        "\nThe cloud is up. With the OpenStack client (pip install python-openstackclient), in another terminal:\n"
    );
    println!("    export OS_CLIENT_CONFIG_FILE={} OS_CLOUD=kilonova", ready.clouds_yaml.display());
    println!("    openstack server list");
    println!("    openstack console log show {}", guest.name());
    println!(
        "    openstack server create --image guest --flavor {} --network private --key-name {} --wait second-guest",
        guest.flavor(),
        guest::KEY_NAME
    );
    if let Some(command) = guest.ssh_command() {
        println!("    {command}");
    }
    println!("\nCtrl-C stops the cloud; its guests go on running.");
}
