//! `kilonova manage placement`: allocations that nothing owns, and servers without one. What the process ends with is what
//! `nova-manage` ends with, for scripts that look at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use kilonova_clients::ClientError;
use kilonova_clients::placement::Placement;
use kilonova_conductor::allocations::{self, AuditError, Unclaimed, in_words};
use kilonova_core::{Config, RequestContext};
use kilonova_db::{Db, request_specs};
use kilonova_objects::RequestSpec;
use kilonova_placement::PlacementService;
use kilonova_scheduler::wanted_resources;
use uuid::Uuid;

use super::{connect, process};
use crate::commands::Exit;
use kilonova_clients::http;

/// Orphans were found, and left.
const FOUND: u8 = 3;
/// Orphans were found, and removed.
const REMOVED: u8 = 4;
/// There was nothing to do.
const NOTHING_TO_DO: u8 = 4;
/// There may be more.
const MAX_REACHED: u8 = 1;
/// Some could not be healed.
const NOT_HEALED: u8 = 3;
/// What was named is not there.
const INVALID: u8 = 127;

#[derive(Debug, Subcommand)]
pub(super) enum PlacementVerb {
    /// Looks for allocations on compute nodes that no server and no move owns. Ends with 0 if there are none, 3 if some were
    /// found, 4 if they were deleted, 127 where the provider is not there.
    Audit {
        /// Says what each of them holds.
        #[arg(long)]
        verbose: bool,
        /// Deletes them.
        #[arg(long)]
        delete: bool,
        /// Only of this resource provider.
        #[arg(long = "resource_provider", value_name = "UUID")]
        resource_provider: Option<Uuid>,
    },
    /// Gives servers that run on a host and hold nothing of it what their flavor says. Ends with 0 if some were healed, 1 if
    /// there may be more than --max-count, 3 if some could not be, 4 if there was nothing to do.
    #[command(name = "heal_allocations")]
    HealAllocations {
        /// At most so many servers.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_count: Option<u32>,
        /// Says what each of them gets.
        #[arg(long)]
        verbose: bool,
        /// Changes nothing.
        #[arg(long)]
        dry_run: bool,
        /// Only this server.
        #[arg(long, value_name = "UUID")]
        instance: Option<Uuid>,
    },
}

impl PlacementVerb {
    pub(super) async fn run(&self, config: &Config) -> anyhow::Result<()> {
        let db = connect(config).await?;
        let placement = placement(config, &db).await?;
        let done = match *self {
            Self::Audit { verbose, delete, resource_provider } => {
                audit(&db, placement.as_ref(), verbose, delete, resource_provider).await
            }
            Self::HealAllocations { max_count, verbose, dry_run, instance } => {
                let options = Healing { max_count, verbose, dry_run, instance };
                heal(&db, placement.as_ref(), &options).await
            }
        };
        db.close().await?;
        done
    }
}

/// Placement where `[placement]` says how to log in to it, else what is in the database.
async fn placement(config: &Config, db: &Db) -> anyhow::Result<Arc<dyn Placement>> {
    if config.get("placement", "auth_url").is_some() || config.get("placement", "endpoint_override").is_some() {
        return Ok(http::clients_without_downloads(config)?.placement);
    }
    let section = process::database_sections(config).last().unwrap_or(process::DATABASE);
    let db = if section == process::DATABASE { db.clone() } else { process::connect(config, section).await? };
    Ok(PlacementService::open(db))
}

async fn audit(
    db: &Db,
    placement: &dyn Placement,
    verbose: bool,
    delete: bool,
    provider: Option<Uuid>,
) -> anyhow::Result<()> {
    let orphans = match allocations::orphans(db, placement, provider).await {
        Err(error @ AuditError::NoProvider(_)) => return Err(Exit::new(INVALID, error.to_string()).into()),
        found => found.context("the allocations cannot be looked at")?,
    };
    let mut consumers = BTreeMap::new();
    for orphan in &orphans {
        consumers.entry(orphan.consumer).or_insert(orphan.provider);
        if verbose {
            let what = in_words(&orphan.resources);
            println!(
                "Allocations were set against consumer UUID {} but no instance or move has it: {what} of {}",
                orphan.consumer, orphan.provider
            );
        }
    }
    println!("{} orphaned consumers hold allocations on compute nodes.", consumers.len());
    if consumers.is_empty() {
        return Ok(());
    }
    if !delete {
        return Err(Exit::silent(FOUND).into());
    }
    for consumer in consumers.keys() {
        placement.delete_allocations(&RequestContext::admin(), *consumer).await?;
        println!("Deleted allocations for consumer UUID {consumer}.");
    }
    Err(Exit::silent(REMOVED).into())
}

struct Healing {
    max_count: Option<u32>,
    verbose: bool,
    dry_run: bool,
    instance: Option<Uuid>,
}

async fn heal(db: &Db, placement: &dyn Placement, options: &Healing) -> anyhow::Result<()> {
    if let Some(uuid) = options.instance {
        let found = kilonova_db::instances::get(db, uuid, kilonova_db::instances::Deleted::No).await;
        found.map_err(|_| Exit::new(INVALID, format!("Unable to find an instance with UUID {uuid}.")))?;
    }
    let mut found = allocations::unclaimed(db, placement, options.instance).await?;
    let all = found.len();
    found.truncate(options.max_count.map_or(usize::MAX, |max| max as usize));
    let (mut healed, mut failed) = (0, 0);
    for unclaimed in &found {
        match heal_one(db, placement, unclaimed, options).await {
            Ok(()) => healed += 1,
            Err(error) => {
                eprintln!("The allocations of instance {} were not created: {error:#}", unclaimed.instance.uuid);
                failed += 1;
            }
        }
    }
    println!("Processed {healed} instances.");
    match (healed, failed) {
        (_, 1..) => Err(Exit::silent(NOT_HEALED).into()),
        (0, 0) => Err(Exit::silent(NOTHING_TO_DO).into()),
        _ if all > found.len() => Err(Exit::silent(MAX_REACHED).into()),
        _ => Ok(()),
    }
}

async fn heal_one(db: &Db, placement: &dyn Placement, unclaimed: &Unclaimed, options: &Healing) -> anyhow::Result<()> {
    let (instance, provider) = (&unclaimed.instance, unclaimed.provider);
    let spec = request_specs::get(db, instance.uuid).await?;
    // A server that was resized has another flavor than it was asked for with.
    let flavor = instance.flavor.clone().context("the server has no flavor")?;
    let resources = wanted_resources(&RequestSpec { flavor, ..spec })?;
    let (uuid, what) = (instance.uuid, in_words(&resources));
    if options.dry_run {
        println!("[dry-run] Create allocations for instance {uuid} on provider {provider}: {what}");
        return Ok(());
    }
    let [project_id, user_id] = [&instance.project_id, &instance.user_id].map(|id| id.clone().unwrap_or_default());
    let wanted = [(provider, resources)].into();
    let set = placement.set_allocations(&RequestContext::admin(), uuid, &project_id, &user_id, &wanted).await;
    set.map_err(|error| match error {
        ClientError::Conflict(reason) => anyhow::anyhow!("the host has no room for it: {reason}"),
        other => other.into(),
    })?;
    let more = if options.verbose { format!(": {what}") } else { String::new() };
    println!("Successfully created allocations for instance {uuid} against resource provider {provider}{more}.");
    Ok(())
}
