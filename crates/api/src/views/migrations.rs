//! Records of moves: in the list of all, and below their server.

use kilonova_core::Microversion;
use kilonova_objects::Migration as Record;
use kilonova_objects::migration::status::LIVE_IN_PROGRESS;
use serde::Serialize;
use uuid::Uuid;

use super::links::{Link, Links};
use super::time::StrTime;
use crate::versions::{V2_23, V2_59, V2_80};

/// Where it goes from and to; nothing for who may not know hosts.
#[derive(Serialize)]
struct Hosts<'a> {
    dest_compute: Option<&'a str>,
    dest_host: Option<&'a str>,
    dest_node: Option<&'a str>,
    source_compute: Option<&'a str>,
    source_node: Option<&'a str>,
}

impl<'a> Hosts<'a> {
    fn new(record: &'a Record, shown: bool) -> Self {
        let text = |name: &'a Option<String>| name.as_deref().filter(|_| shown);
        Self {
            dest_compute: text(&record.dest_compute),
            dest_host: text(&record.dest_host),
            dest_node: text(&record.dest_node),
            source_compute: text(&record.source_compute),
            source_node: text(&record.source_node),
        }
    }
}

/// Since 2.80. Null where nobody is known.
#[derive(Serialize)]
struct Owner<'a> {
    project_id: Option<&'a str>,
    user_id: Option<&'a str>,
}

impl<'a> Owner<'a> {
    fn new(record: &'a Record, version: Microversion) -> Option<Self> {
        let owner = Self { project_id: record.project_id.as_deref(), user_id: record.user_id.as_deref() };
        (version >= V2_80).then_some(owner)
    }
}

/// One of `GET /os-migrations`.
#[derive(Serialize)]
pub(crate) struct Migration<'a> {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    instance_uuid: Uuid,
    status: &'a str,
    #[serde(flatten)]
    hosts: Hosts<'a>,
    old_instance_type_id: Option<i64>,
    new_instance_type_id: Option<i64>,
    created_at: Option<StrTime>,
    updated_at: Option<StrTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration_type: Option<&'a str>,
    /// Of a live migration that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<[Link; 2]>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner<'a>>,
}

impl<'a> Migration<'a> {
    pub(crate) fn new(record: &'a Record, version: Microversion, shows_hosts: bool, links: &Links) -> Self {
        let is_linked = version >= V2_23 && is_live_in_progress(record);
        let collection = || format!("servers/{}/migrations", record.instance_uuid);
        Self {
            id: record.id,
            uuid: (version >= V2_59).then_some(record.uuid),
            instance_uuid: record.instance_uuid,
            status: &record.status,
            hosts: Hosts::new(record, shows_hosts),
            old_instance_type_id: record.old_instance_type_id,
            new_instance_type_id: record.new_instance_type_id,
            created_at: record.created_at.map(StrTime),
            updated_at: record.updated_at.map(StrTime),
            migration_type: (version >= V2_23).then_some(record.migration_type.as_str()),
            links: is_linked.then(|| links.of(&collection(), &record.id.to_string())),
            owner: Owner::new(record, version),
        }
    }
}

/// Whether it is shown below its server.
pub(crate) fn is_live_in_progress(record: &Record) -> bool {
    record.is_live_migration() && LIVE_IN_PROGRESS.contains(&record.status.as_str())
}

/// `GET /os-migrations`
#[derive(Serialize)]
pub(crate) struct Migrations<'a> {
    pub(crate) migrations: Vec<Migration<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "migrations_links")]
    pub(crate) links: Option<[Link; 1]>,
}

/// One of `GET /servers/{id}/migrations`.
#[derive(Serialize)]
pub(crate) struct ServerMigration<'a> {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    server_uuid: Uuid,
    status: &'a str,
    #[serde(flatten)]
    hosts: Hosts<'a>,
    memory_total_bytes: Option<i64>,
    memory_processed_bytes: Option<i64>,
    memory_remaining_bytes: Option<i64>,
    disk_total_bytes: Option<i64>,
    disk_processed_bytes: Option<i64>,
    disk_remaining_bytes: Option<i64>,
    created_at: Option<StrTime>,
    updated_at: Option<StrTime>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner<'a>>,
}

impl<'a> ServerMigration<'a> {
    pub(crate) fn new(record: &'a Record, version: Microversion, shows_hosts: bool) -> Self {
        Self {
            id: record.id,
            uuid: (version >= V2_59).then_some(record.uuid),
            server_uuid: record.instance_uuid,
            status: &record.status,
            hosts: Hosts::new(record, shows_hosts),
            memory_total_bytes: record.memory_total,
            memory_processed_bytes: record.memory_processed,
            memory_remaining_bytes: record.memory_remaining,
            disk_total_bytes: record.disk_total,
            disk_processed_bytes: record.disk_processed,
            disk_remaining_bytes: record.disk_remaining,
            created_at: record.created_at.map(StrTime),
            // One that goes on has been written again in Nova; here it may be as it was begun.
            updated_at: record.updated_at.or(record.created_at).map(StrTime),
            owner: Owner::new(record, version),
        }
    }
}
