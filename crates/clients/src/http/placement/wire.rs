//! Placement's bodies and queries.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::adapter::Call;
use crate::placement::{Candidate, CandidatesQuery, Inventory, ResourceProvider, Resources};

#[derive(Debug, Deserialize)]
pub(super) struct ProviderBody {
    uuid: Uuid,
    pub(super) name: String,
    pub(super) generation: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProvidersBody {
    resource_providers: Vec<ProviderBody>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InventoriesBody {
    #[serde(rename = "resource_provider_generation")]
    pub(super) generation: i64,
    pub(super) inventories: BTreeMap<String, InventoryBody>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct InventoryBody {
    total: i64,
    reserved: i64,
    min_unit: i64,
    max_unit: i64,
    step_size: i64,
    allocation_ratio: f64,
}

impl From<InventoryBody> for Inventory {
    fn from(body: InventoryBody) -> Self {
        let InventoryBody { total, reserved, min_unit, max_unit, step_size, allocation_ratio } = body;
        Self { total, reserved, min_unit, max_unit, step_size, allocation_ratio }
    }
}

impl From<&Inventory> for InventoryBody {
    fn from(inventory: &Inventory) -> Self {
        let Inventory { total, reserved, min_unit, max_unit, step_size, allocation_ratio } = inventory.clone();
        Self { total, reserved, min_unit, max_unit, step_size, allocation_ratio }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct TraitsBody {
    #[serde(rename = "resource_provider_generation")]
    pub(super) generation: i64,
    pub(super) traits: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConsumerBody {
    pub(super) allocations: BTreeMap<Uuid, AllocationBody>,
    /// None: it has nothing.
    #[serde(rename = "consumer_generation")]
    pub(super) generation: Option<i64>,
    pub(super) project_id: Option<String>,
    pub(super) user_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AllocationBody {
    pub(super) resources: Resources,
}

#[derive(Debug, Deserialize)]
pub(super) struct CandidatesBody {
    allocation_requests: Vec<AllocationRequest>,
    provider_summaries: BTreeMap<Uuid, Summary>,
}

#[derive(Debug, Deserialize)]
struct AllocationRequest {
    allocations: BTreeMap<Uuid, AllocationBody>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    resources: BTreeMap<String, Stock>,
    #[serde(default)]
    traits: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Stock {
    capacity: i64,
    used: i64,
}

impl CandidatesBody {
    /// Those that are one provider each, in Placement's order.
    pub(super) fn candidates(self, providers: ProvidersBody) -> Vec<Candidate> {
        let Self { allocation_requests, mut provider_summaries } = self;
        let mut providers: BTreeMap<Uuid, ProviderBody> =
            providers.resource_providers.into_iter().map(|provider| (provider.uuid, provider)).collect();
        let candidate = |request: AllocationRequest| {
            let mut allocations = request.allocations.into_iter();
            let (Some((uuid, allocation)), None) = (allocations.next(), allocations.next()) else { return None };
            // One that came or went between the two answers is not there.
            let (ProviderBody { uuid, name, generation }, summary) =
                providers.remove(&uuid).zip(provider_summaries.remove(&uuid))?;
            let by_class = |amount: fn(&Stock) -> i64| -> Resources {
                summary.resources.iter().map(|(class, stock)| (class.clone(), amount(stock))).collect()
            };
            Some(Candidate {
                provider: ResourceProvider { uuid, name, generation },
                resources: allocation.resources,
                capacity: by_class(|stock| stock.capacity),
                used: by_class(|stock| stock.used),
                traits: summary.traits,
            })
        };
        allocation_requests.into_iter().filter_map(candidate).collect()
    }
}

/// The parameters that choose providers, which two collections have alike.
pub(super) fn chosen(call: Call, query: &CandidatesQuery) -> Call {
    let amounts: Vec<String> = query.resources.iter().map(|(class, amount)| format!("{class}:{amount}")).collect();
    let forbidden = query.forbidden.iter().map(|name| format!("!{name}"));
    let traits: Vec<String> = query.required.iter().cloned().chain(forbidden).collect();
    let mut call = call.query("resources", amounts.join(","));
    if !traits.is_empty() {
        call = call.query("required", traits.join(","));
    }
    query.in_tree.into_iter().fold(call, |call, uuid| call.query("in_tree", uuid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn candidates_are_single_providers_in_the_order_of_the_answer() {
        let id = |number: u128| Uuid::from_u128(number).to_string();
        let stock = |capacity: i64, used: i64| json!({"resources": {"VCPU": {"capacity": capacity, "used": used}}, "traits": ["A"]});
        let amounts = json!({"resources": {"VCPU": 2}});
        let found: CandidatesBody = serde_json::from_value(json!({
            "allocation_requests": [
                {"allocations": {id(2): amounts}, "mappings": {"": [id(2)]}},
                {"allocations": {id(1): amounts, id(9): {"resources": {"DISK_GB": 1}}}},
                {"allocations": {id(1): amounts}},
                {"allocations": {id(3): amounts}},
            ],
            "provider_summaries": {id(1): stock(4, 0), id(2): stock(8, 1), id(3): stock(1, 0), id(9): stock(1, 0)},
        }))
        .unwrap();
        let providers = json!({"resource_providers": [
            {"uuid": id(1), "name": "one", "generation": 3, "links": []},
            {"uuid": id(2), "name": "two", "generation": 5, "links": []},
        ]});
        let candidates = found.candidates(serde_json::from_value(providers).unwrap());
        let vcpus = |amount| Resources::from([("VCPU".to_owned(), amount)]);
        let candidate = |number, name: &str, generation, capacity, used| Candidate {
            provider: ResourceProvider { uuid: Uuid::from_u128(number), name: name.to_owned(), generation },
            resources: vcpus(2),
            capacity: vcpus(capacity),
            used: vcpus(used),
            traits: vec!["A".to_owned()],
        };
        assert_eq!(candidates, [candidate(2, "two", 5, 8, 1), candidate(1, "one", 3, 4, 0)]);
    }
}
