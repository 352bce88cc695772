//! Host aggregates.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kilonova_core::Microversion;
use kilonova_objects::Aggregate;
use serde::Serialize;
use uuid::Uuid;

use super::time::StrTime;
use crate::versions::V2_41;

/// An aggregate as it was just made.
#[derive(Serialize)]
pub(crate) struct Created<'a> {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    name: &'a str,
    availability_zone: Option<&'a str>,
    created_at: Option<StrTime>,
    updated_at: Option<StrTime>,
    deleted_at: Option<StrTime>,
    deleted: bool,
}

/// With its hosts and metadata.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(flatten)]
    created: Created<'a>,
    hosts: &'a [String],
    metadata: &'a Option<BTreeMap<String, String>>,
}

impl<'a> Created<'a> {
    pub(crate) fn new(aggregate: &'a Aggregate, version: Microversion) -> Self {
        let stamp = |at: Option<DateTime<Utc>>| at.map(StrTime);
        Self {
            id: aggregate.id,
            uuid: (version >= V2_41).then_some(aggregate.uuid),
            name: &aggregate.name,
            availability_zone: aggregate.availability_zone(),
            created_at: stamp(aggregate.created_at),
            updated_at: stamp(aggregate.updated_at),
            deleted_at: stamp(aggregate.deleted_at),
            deleted: aggregate.deleted,
        }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn new(aggregate: &'a Aggregate, version: Microversion) -> Self {
        let created = Created::new(aggregate, version);
        Self { created, hosts: aggregate.hosts(), metadata: &aggregate.metadata }
    }
}
