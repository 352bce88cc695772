//! Who can take a request whole.
//!
//! A request is one or more groups, each with amounts and traits. Providers are roots without children here, so all
//! groups of a request come from one provider: it must satisfy every group by itself, and all of them together.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_clients::placement::{CandidatesQuery, Resources};
use uuid::Uuid;

use crate::stock::StockedProvider;

/// Traits that must be, and must not be, there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraitRules {
    pub(crate) required: BTreeSet<String>,
    pub(crate) forbidden: BTreeSet<String>,
}

impl TraitRules {
    pub(crate) fn allow(&self, provider: &StockedProvider) -> bool {
        self.required.iter().all(|name| provider.has_trait(name))
            && !self.forbidden.iter().any(|name| provider.has_trait(name))
    }
}

/// What one provider must give.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) resources: Resources,
    pub(crate) traits: TraitRules,
    pub(crate) in_tree: Option<Uuid>,
    /// Asks for an aggregate, which no provider is in.
    pub(crate) in_aggregate: bool,
}

impl Group {
    pub(crate) fn allows(&self, provider: &StockedProvider) -> bool {
        !self.in_aggregate
            && self.in_tree.is_none_or(|uuid| uuid == provider.provider.uuid)
            && self.traits.allow(provider)
            && provider.takes(&self.resources)
    }
}

/// All that is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// By suffix; the one without a suffix is `""`.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Groups with a suffix must come from different providers.
    pub(crate) isolate: bool,
    pub(crate) root: TraitRules,
    pub(crate) limit: Option<usize>,
}

impl Request {
    /// The amounts of all groups together.
    pub(crate) fn resources(&self) -> Resources {
        let mut sum = Resources::new();
        for (class, amount) in self.groups.values().flat_map(|group| &group.resources) {
            let total = sum.entry(class.clone()).or_default();
            *total = i64::saturating_add(*total, *amount);
        }
        sum
    }

    /// The provider that all groups name by `in_tree`, if one does: only that needs to be looked at.
    pub(crate) fn in_tree(&self) -> Option<Uuid> {
        self.groups.values().find_map(|group| group.in_tree)
    }

    fn suffixed_with_resources(&self) -> usize {
        let suffixed = self.groups.iter().filter(|(suffix, _)| !suffix.is_empty());
        suffixed.filter(|(_, group)| !group.resources.is_empty()).count()
    }
}

impl From<&CandidatesQuery> for Request {
    fn from(query: &CandidatesQuery) -> Self {
        let group = Group {
            resources: query.resources.clone(),
            traits: TraitRules {
                required: query.required.iter().cloned().collect(),
                forbidden: query.forbidden.iter().cloned().collect(),
            },
            in_tree: query.in_tree,
            in_aggregate: false,
        };
        Self { groups: BTreeMap::from([(String::new(), group)]), limit: query.limit, ..Self::default() }
    }
}

/// Those of `providers` that can take the request whole, in their order, up to the limit.
pub(crate) fn candidates(request: &Request, providers: Vec<StockedProvider>) -> Vec<StockedProvider> {
    if request.isolate && request.suffixed_with_resources() > 1 {
        return Vec::new();
    }
    let sum = request.resources();
    let together = |provider: &StockedProvider| {
        sum.iter().all(|(class, amount)| provider.stock.get(class).is_some_and(|stock| stock.takes_sum(*amount)))
    };
    let fits = |provider: &StockedProvider| {
        request.root.allow(provider)
            && request.groups.values().all(|group| group.allows(provider))
            && together(provider)
    };
    let limit = request.limit.unwrap_or(usize::MAX);
    providers.into_iter().filter(fits).take(limit).collect()
}
