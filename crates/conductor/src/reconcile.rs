//! Heals what belongs to nobody: allocations and ports of instances that are gone. A crash between two steps can leave
//! them, nothing else does.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Expand, InstanceQuery};
use kilonova_db::server_migrations::MigrationQuery;
use kilonova_db::{compute_nodes, server_migrations};
use kilonova_objects::VmState;
use uuid::Uuid;

use crate::Conductor;
use crate::tasks::TaskError;

impl Conductor {
    /// One look at all allocations and ports.
    pub(crate) async fn reconcile(&self) -> Result<(), TaskError> {
        let context = RequestContext::admin();
        // What holds is read before what should hold: a row is written before its first claim, so nothing that is
        // being made looks like an orphan.
        let mut consumers = Vec::new();
        for node in compute_nodes::list(&self.db).await? {
            match self.clients.placement.provider_allocations(&context, node.uuid).await {
                Ok(allocations) => consumers.extend(allocations.into_keys()),
                Err(error) => tracing::warn!(provider = %node.uuid, %error, "a provider's allocations cannot be read"),
            }
        }
        let devices = self.clients.network.devices_with_ports(&context).await?;
        let mut live = self.live_instances().await?;
        // A move holds what its instance had before, until it is over.
        let moves = server_migrations::list(&self.db, &MigrationQuery::open()).await?;
        live.extend(moves.into_iter().map(|migration| (migration.uuid, true)));
        for consumer in consumers.into_iter().filter(|uuid| live.get(uuid) != Some(&true)) {
            tracing::warn!(%consumer, "removing allocations that no instance owns");
            self.clients.placement.delete_allocations(&context, consumer).await?;
        }
        for device in devices.into_iter().filter(|uuid| live.get(uuid) != Some(&true)) {
            tracing::warn!(%device, "removing ports that no instance owns");
            self.clients.network.deallocate_for_instance(&context, device).await?;
        }
        Ok(())
    }

    /// Every instance, and whether it may have allocations and ports: one that failed and has no host has none.
    async fn live_instances(&self) -> Result<HashMap<Uuid, bool>, TaskError> {
        const PAGE: u64 = 500;
        let mut live = HashMap::new();
        let mut marker = None;
        loop {
            let query = InstanceQuery {
                sort: vec![("created_at".to_owned(), false)],
                limit: Some(PAGE),
                marker,
                with: Expand { metadata: false, faults: false },
                ..InstanceQuery::default()
            };
            let page = instances::list(&self.db, &query).await?;
            marker = page.last().map(|instance| instance.uuid);
            let is_last = page.len() < PAGE as usize;
            let may_hold = |host: &Option<String>, state| host.is_some() || state != VmState::Error;
            live.extend(page.into_iter().map(|i| (i.uuid, may_hold(&i.host, i.vm_state))));
            if is_last {
                return Ok(live);
            }
        }
    }
}
