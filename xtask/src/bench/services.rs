//! The memory of each service in a process of its own, at rest: RabbitMQ between them, PostgreSQL behind them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kilonova_testing::{PostgreSql, RabbitMq};
use tokio::process::{Child, Command};

use super::Bench;
use super::report::Row;
use crate::processes;
use crate::progress::Step;

/// A service, and how much memory it may take; `None` is no promise.
const SERVICES: [(&str, Option<f64>); 6] = [
    ("standalone", None),
    ("placement", None),
    ("conductor", Some(40.0)),
    ("scheduler", Some(40.0)),
    ("api", Some(40.0)),
    ("compute", Some(25.0)),
];
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Memory is looked at when nothing but heartbeats has happened for this long.
const REST: Duration = Duration::from_secs(15);

/// A row for each service.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let step = Step::quiet(format!("services in processes of their own, after {} s of rest", REST.as_secs()));
    let dir = bench.dir.join("services");
    std::fs::create_dir_all(&dir)?;
    let (broker, database) = (RabbitMq::start()?, PostgreSql::start()?);
    let config = dir.join("nova.conf");
    std::fs::write(&config, nova_conf(&dir, &broker, &database)?)?;
    let synced = command(bench, "manage", &config).args(["db", "sync"]).output().await?;
    if !synced.status.success() {
        bail!("db sync: {}", String::from_utf8_lossy(&synced.stderr));
    }
    let mut running: Vec<(&str, Option<f64>, Child)> = Vec::new();
    for (role, target) in SERVICES {
        let log = dir.join(format!("{role}.log"));
        let mut child = command(bench, role, &config).stderr(std::fs::File::create(&log)?).spawn()?;
        ready(role, &mut child, &log).await?;
        running.push((role, target, child));
    }
    tokio::time::sleep(REST).await;
    let mut rows = Vec::new();
    for (role, target, child) in &running {
        let pid = child.id().with_context(|| format!("{role} has ended"))?;
        let name = format!("memory (VmRSS) of an idle `kilonova {role}`, RabbitMQ and PostgreSQL");
        let resident_mb = processes::resident_mb(i32::try_from(pid)?)?;
        rows.push(match target {
            Some(target) => Row::at_most(name, resident_mb, *target, "MB"),
            None => Row::figure(name, resident_mb, "MB"),
        });
    }
    for (_, _, child) in running.iter_mut().rev() {
        child.kill().await?;
    }
    step.done("");
    Ok(rows)
}

fn command(bench: &Bench, role: &str, config: &Path) -> Command {
    let mut command = Command::new(&bench.binary);
    command.arg(role).arg("--config-file").arg(config).kill_on_drop(true).stdin(std::process::Stdio::null());
    command
}

async fn ready(role: &str, child: &mut Child, log: &PathBuf) -> anyhow::Result<()> {
    let started = Instant::now();
    while !std::fs::read_to_string(log)?.contains("ready role=") {
        if let Some(status) = child.try_wait()? {
            bail!("{role} ended with {status}: see {}", log.display());
        }
        if started.elapsed() > START_TIMEOUT {
            bail!("{role} does not come up: see {}", log.display());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn nova_conf(dir: &Path, broker: &RabbitMq, database: &PostgreSql) -> anyhow::Result<String> {
    let (standalone, placement, api) =
        (kilonova_testing::free_port()?, kilonova_testing::free_port()?, kilonova_testing::free_port()?);
    let identity = format!("http://127.0.0.1:{standalone}/identity/v3");
    Ok(format!(
        "[DEFAULT]\nhost = bench\nstate_path = {}\ntransport_url = {}\ncompute_driver = fake\n\
         osapi_compute_listen = 127.0.0.1\nosapi_compute_listen_port = {api}\nplacement_listen = 127.0.0.1\n\
         placement_listen_port = {placement}\nstandalone_listen = 127.0.0.1\nstandalone_listen_port = {standalone}\n\
         [standalone]\nservice_password = bench\n[database]\nconnection = {}/postgres\n\
         [keystone_authtoken]\nauth_type = password\nauth_url = {identity}\nusername = nova\npassword = bench\n\
         project_name = service\nuser_domain_name = Default\nproject_domain_name = Default\n\
         [glance]\nauth_section = keystone_authtoken\n[neutron]\nauth_section = keystone_authtoken\n\
         [placement]\nauth_section = keystone_authtoken\nendpoint_override = http://127.0.0.1:{placement}\n",
        dir.display(),
        broker.url(),
        database.url(),
    ))
}
