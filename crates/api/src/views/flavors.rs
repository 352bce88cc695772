//! Flavors as the flavors resource shows them.

use std::collections::BTreeMap;

use kilonova_core::Microversion;
use kilonova_objects::Flavor;
use serde::Serialize;
use serde_json::{Value, json};

use super::links::{Link, Links};
use crate::versions::{V2_55, V2_75, V2_102};

/// In a brief list.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<&'a str>>,
    links: [Link; 2],
}

/// Everything.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    id: &'a str,
    name: &'a str,
    ram: i64,
    disk: i64,
    swap: Value,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: i64,
    #[serde(rename = "OS-FLV-DISABLED:disabled", skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
    vcpus: i64,
    #[serde(rename = "os-flavor-access:is_public")]
    is_public: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rxtx_factor: Option<Value>,
    links: [Link; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_specs: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Brief<'a> {
    pub(crate) fn new(flavor: &'a Flavor, links: &Links, version: Microversion) -> Self {
        Self {
            id: &flavor.flavorid,
            name: flavor.name.as_deref().unwrap_or_default(),
            description: description(flavor, version),
            links: links.of("flavors", &flavor.flavorid),
        }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn new(flavor: &'a Flavor, links: &Links, version: Microversion, with_extra_specs: bool) -> Self {
        Self {
            id: &flavor.flavorid,
            name: flavor.name.as_deref().unwrap_or_default(),
            ram: flavor.memory_mb,
            disk: flavor.root_gb,
            // No swap is the empty string in older microversions.
            swap: if flavor.swap == 0 && version < V2_75 { json!("") } else { json!(flavor.swap) },
            ephemeral: flavor.ephemeral_gb,
            disabled: (version < V2_102).then_some(flavor.disabled),
            vcpus: flavor.vcpus,
            is_public: flavor.is_public,
            rxtx_factor: (version < V2_102).then(|| rxtx_factor(flavor)),
            links: links.of("flavors", &flavor.flavorid),
            description: description(flavor, version),
            extra_specs: with_extra_specs.then_some(&flavor.extra_specs),
        }
    }
}

fn rxtx_factor(flavor: &Flavor) -> Value {
    flavor.rxtx_factor.filter(|factor| *factor != 0.0).map_or(json!(""), |factor| json!(factor))
}

fn description(flavor: &Flavor, version: Microversion) -> Option<Option<&str>> {
    (version >= V2_55).then_some(flavor.description.as_deref())
}
