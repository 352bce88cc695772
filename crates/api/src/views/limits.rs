//! Absolute limits.

use kilonova_core::Microversion;
use serde_json::{Map, Value, json};

use crate::compute::quota_sets::{Amounts, FILES, NETWORK};
use crate::versions::{V2_36, V2_39, V2_57};

const LIMITS: [(&str, &str); 13] = [
    ("ram", "maxTotalRAMSize"),
    ("instances", "maxTotalInstances"),
    ("cores", "maxTotalCores"),
    ("key_pairs", "maxTotalKeypairs"),
    ("floating_ips", "maxTotalFloatingIps"),
    ("metadata_items", "maxServerMeta"),
    ("metadata_items", "maxImageMeta"),
    ("injected_files", "maxPersonality"),
    ("injected_file_content_bytes", "maxPersonalitySize"),
    ("security_groups", "maxSecurityGroups"),
    ("security_group_rules", "maxSecurityGroupRules"),
    ("server_groups", "maxServerGroups"),
    ("server_group_members", "maxServerGroupMembers"),
];
const USED: [(&str, &str); 6] = [
    ("ram", "totalRAMUsed"),
    ("cores", "totalCoresUsed"),
    ("instances", "totalInstancesUsed"),
    ("floating_ips", "totalFloatingIpsUsed"),
    ("security_groups", "totalSecurityGroupsUsed"),
    ("server_groups", "totalServerGroupsUsed"),
];

/// The limits of a project and what it uses.
pub(crate) fn view(limits: &Amounts, used: &Amounts, version: Microversion) -> Value {
    let shown = |resource: &str, name: &str| {
        !(version >= V2_36 && NETWORK.contains(&resource)
            || version >= V2_57 && FILES.contains(&resource)
            || version >= V2_39 && name == "maxImageMeta")
    };
    let rows = LIMITS.iter().map(|row| (row, limits)).chain(USED.iter().map(|row| (row, used)));
    let absolute: Map<String, Value> = rows
        .filter(|((resource, name), _)| shown(resource, name))
        .map(|((resource, name), amounts)| ((*name).to_owned(), json!(amounts.get(resource))))
        .collect();
    json!({"limits": {"rate": [], "absolute": absolute}})
}
