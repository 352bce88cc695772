//! `kilonova manage`: what nova-manage does for a cloud, as far as there is something to do here.

mod placement;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use kilonova_core::Config;
use kilonova_core::time::utcnow;
use kilonova_db::Db;
use kilonova_objects::Service;

use crate::process::{self, Options};
use crate::text::table;
use placement::PlacementVerb;

/// Options of `kilonova manage`.
#[derive(Debug, Args)]
pub(super) struct Manage {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The database of `[database] connection`, and that of `[placement_database]` where there is one.
    Db {
        #[command(subcommand)]
        verb: DbVerb,
    },
    /// What Nova keeps in a database of its own; here it is all in one.
    ApiDb {
        #[command(subcommand)]
        verb: DbVerb,
    },
    /// Hosts and cells; there is one cell.
    #[command(name = "cell_v2")]
    CellV2 {
        #[command(subcommand)]
        verb: CellVerb,
    },
    /// What is held of the hosts' resources, and by whom.
    Placement {
        #[command(subcommand)]
        verb: PlacementVerb,
    },
    /// The service processes and whether they are alive.
    Service {
        #[command(subcommand)]
        verb: ServiceVerb,
    },
}

#[derive(Debug, Subcommand)]
enum DbVerb {
    /// Makes the schema, or brings it up to date.
    Sync,
    /// Prints the schema's last step, and fails where this program needs another.
    Version,
}

#[derive(Debug, Subcommand)]
enum CellVerb {
    /// Shows the compute hosts that have come. They need no mapping: a host can be used from its first report on.
    #[command(name = "discover_hosts")]
    DiscoverHosts,
}

#[derive(Debug, Subcommand)]
enum ServiceVerb {
    /// All services, with their last sign of life.
    List,
}

impl Manage {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let config = self.options.load()?;
        match &self.what {
            What::Db { verb: DbVerb::Sync } => sync(&config).await,
            What::Db { verb: DbVerb::Version } => version(&config).await,
            What::ApiDb { .. } => {
                println!("There is no API database of its own: [database] connection has it all, see `db sync`.");
                Ok(())
            }
            What::CellV2 { verb: CellVerb::DiscoverHosts } => discover_hosts(&config).await,
            What::Placement { verb } => verb.run(&config).await,
            What::Service { verb: ServiceVerb::List } => list_services(&config).await,
        }
    }
}

async fn sync(config: &Config) -> anyhow::Result<()> {
    for section in process::database_sections(config) {
        let db = process::connect(config, section).await?;
        db.migrate()
            .await
            .with_context(|| format!("the database of [{section}] connection cannot be brought up to date"))?;
        println!("[{section}] connection: up to date");
        db.close().await?;
    }
    Ok(())
}

async fn version(config: &Config) -> anyhow::Result<()> {
    for section in process::database_sections(config) {
        let db = process::connect(config, section).await?;
        println!("[{section}] connection: {}", db.schema_version().await?.as_deref().unwrap_or("empty"));
        db.check_schema().await?;
        db.close().await?;
    }
    Ok(())
}

async fn discover_hosts(config: &Config) -> anyhow::Result<()> {
    let db = connect(config).await?;
    let mut rows = Vec::new();
    for node in kilonova_db::compute_nodes::list(&db).await? {
        rows.push([node.host.unwrap_or_default(), node.hypervisor_hostname.unwrap_or_default()].to_vec());
    }
    print!("{}", table(&["Host", "Node"], &rows));
    println!("{} compute nodes; none needs to be mapped.", rows.len());
    Ok(db.close().await?)
}

async fn list_services(config: &Config) -> anyhow::Result<()> {
    let db = connect(config).await?;
    let service_down_time_s = config.parse("DEFAULT", "service_down_time", 60)?;
    let services = kilonova_db::services::list(&db, None, None).await?;
    let rows: Vec<_> = services.into_iter().map(|service| row(service, service_down_time_s)).collect();
    print!("{}", table(&["Binary", "Host", "Status", "State", "Version", "Updated At"], &rows));
    Ok(db.close().await?)
}

fn row(service: Service, service_down_time_s: i64) -> Vec<String> {
    let is_up = service.is_up(utcnow(), service_down_time_s);
    let seen = service.last_seen_up.or(service.created_at);
    vec![
        service.binary.unwrap_or_default(),
        service.host.unwrap_or_default(),
        if service.disabled { "disabled" } else { "enabled" }.to_owned(),
        if is_up { "up" } else { "down" }.to_owned(),
        service.version.to_string(),
        seen.map(|seen| seen.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default(),
    ]
}

async fn connect(config: &Config) -> anyhow::Result<Db> {
    let db = process::connect(config, process::DATABASE).await?;
    db.check_schema().await.context("the database is not as this version needs it: see `kilonova manage db sync`")?;
    Ok(db)
}
