//! Server groups.

use std::collections::BTreeMap;

use kilonova_core::Microversion;
use kilonova_objects::InstanceGroup;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::versions::{V2_13, V2_64};

/// A group; `members` are those that are not deleted.
#[derive(Serialize)]
pub(crate) struct ServerGroup<'a> {
    id: Uuid,
    name: Option<&'a str>,
    members: &'a [String],
    #[serde(flatten)]
    policy: Policy<'a>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Policy<'a> {
    /// Since 2.64.
    One { policy: Option<&'a str>, rules: Map<String, Value> },
    /// Before that; the metadata are always empty.
    Several { policies: &'a [String], metadata: BTreeMap<String, String> },
}

/// Since 2.13.
#[derive(Serialize)]
struct Owner<'a> {
    project_id: Option<&'a str>,
    user_id: Option<&'a str>,
}

impl<'a> ServerGroup<'a> {
    pub(crate) fn new(group: &'a InstanceGroup, version: Microversion) -> Self {
        let policy = if version >= V2_64 {
            Policy::One { policy: group.policy.as_deref(), rules: rules(group) }
        } else {
            let policies = group.policies.as_deref().unwrap_or_default();
            Policy::Several { policies, metadata: BTreeMap::new() }
        };
        let owner = Owner { project_id: group.project_id.as_deref(), user_id: group.user_id.as_deref() };
        Self {
            id: group.uuid,
            name: group.name.as_deref(),
            members: group.members.as_deref().unwrap_or_default(),
            policy,
            owner: (version >= V2_13).then_some(owner),
        }
    }
}

/// Stored as texts, shown as numbers.
fn rules(group: &InstanceGroup) -> Map<String, Value> {
    let shown = |(name, value): (&String, &String)| Some((name.clone(), json!(value.parse::<i64>().ok()?)));
    group._rules.iter().filter_map(shown).collect()
}
