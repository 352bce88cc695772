//! Who can take a request whole.
//!
//! A request is one or more groups, each with amounts and rules. The group without a suffix may be spread over the
//! providers of one tree and those that share with it; a group with a suffix comes from one provider. All groups of an
//! answer come from one tree, with what is shared with it.
//!
//! ```text
//! for each tree whose root may be one ─ choices of each group ─ one of each, together within the capacity
//! ```
//!
//! The last step drops a combination as soon as a part of it cannot be, and ends with the limit.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use kilonova_clients::placement::{CandidatesQuery, Resources};
use uuid::Uuid;

use crate::forest::{Forest, Tree};
use crate::stock::StockedProvider;

/// Traits that must be, and must not be, there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraitRules {
    /// One of each set.
    pub(crate) required: Vec<BTreeSet<String>>,
    pub(crate) forbidden: BTreeSet<String>,
}

impl TraitRules {
    pub(crate) fn allow(&self, provider: &StockedProvider) -> bool {
        self.are_met(|name| provider.has_trait(name)) && !self.forbid(provider)
    }

    /// Whether required ones are all there.
    pub(crate) fn are_met(&self, has: impl Fn(&str) -> bool) -> bool {
        self.required.iter().all(|any| any.iter().any(|name| has(name)))
    }

    pub(crate) fn forbid(&self, provider: &StockedProvider) -> bool {
        self.forbidden.iter().any(|name| provider.has_trait(name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.required.iter().flatten().chain(&self.forbidden).map(String::as_str)
    }
}

/// What is asked of a provider, or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) resources: Resources,
    pub(crate) traits: TraitRules,
    /// A provider in whose tree it must be.
    pub(crate) in_tree: Option<Uuid>,
    /// One of each set.
    pub(crate) member_of: Vec<BTreeSet<Uuid>>,
    pub(crate) forbidden_aggs: BTreeSet<Uuid>,
}

impl Group {
    /// Whether a provider, by itself, is in the aggregates and has the traits.
    pub(crate) fn allows(&self, provider: &StockedProvider) -> bool {
        self.is_member(provider) && !provider.is_in(&self.forbidden_aggs) && self.traits.allow(provider)
    }

    pub(crate) fn is_member(&self, provider: &StockedProvider) -> bool {
        self.member_of.iter().all(|any| provider.is_in(any))
    }
}

/// All that is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// By suffix; the one without a suffix is `""`.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Groups with a suffix must come from different providers.
    pub(crate) isolate: bool,
    /// Rules for the root of the tree.
    pub(crate) root: TraitRules,
    /// Suffixes whose providers must have one of them above the others.
    pub(crate) same_subtree: Vec<BTreeSet<String>>,
    /// Only one provider of a tree, as before 1.29.
    pub(crate) one_per_tree: bool,
    pub(crate) limit: Option<usize>,
}

impl From<&CandidatesQuery> for Request {
    fn from(query: &CandidatesQuery) -> Self {
        let group = Group {
            resources: query.resources.clone(),
            traits: TraitRules {
                required: query.required.iter().map(|name| BTreeSet::from([name.clone()])).collect(),
                forbidden: query.forbidden.iter().cloned().collect(),
            },
            in_tree: query.in_tree,
            ..Group::default()
        };
        Self { groups: BTreeMap::from([(String::new(), group)]), limit: query.limit, ..Self::default() }
    }
}

/// One way to take a request. Numbers are places in [`Forest::providers`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AllocationRequest<'a> {
    /// Amounts by provider and class.
    pub(crate) allocations: BTreeMap<usize, BTreeMap<&'a str, i64>>,
    /// Who satisfies which group.
    pub(crate) mappings: BTreeMap<&'a str, BTreeSet<usize>>,
}

/// The ways to take a request, by the row ids of the trees' roots, up to the limit.
pub(crate) fn allocation_requests<'a>(forest: &Forest, request: &'a Request) -> Vec<AllocationRequest<'a>> {
    let mut search = Search {
        forest,
        request,
        // Without shared providers no two trees lead to the same.
        seen: forest.has_sharing().then(HashSet::new),
        found: Vec::new(),
        limit: request.limit.unwrap_or(usize::MAX),
    };
    for tree in &forest.trees {
        if !request.root.allow(&forest.providers[tree.root]) {
            continue;
        }
        let choices =
            request.groups.iter().map(|(suffix, group)| (suffix.as_str(), choices(forest, tree, suffix, group)));
        let choices: Vec<(&str, Vec<Choice<'_>>)> = choices.collect();
        if choices.iter().all(|(_, choices)| !choices.is_empty()) {
            search.combine(&choices, &mut AllocationRequest::default());
        }
        if search.is_full() {
            break;
        }
    }
    search.found
}

/// The providers of which a client learns more: all in the trees of those that give something. By row id.
pub(crate) fn summarized(forest: &Forest, request: &Request, found: &[AllocationRequest<'_>]) -> BTreeSet<usize> {
    let givers: BTreeSet<usize> = found.iter().flat_map(|found| found.allocations.keys().copied()).collect();
    if request.one_per_tree {
        return givers;
    }
    let roots: BTreeSet<usize> = givers.into_iter().map(|place| forest.root(place)).collect();
    let trees = forest.trees.iter().filter(|tree| roots.contains(&tree.root));
    trees.flat_map(|tree| tree.members.iter().copied()).collect()
}

/// One way to satisfy a group.
#[derive(Clone, Debug)]
struct Choice<'a> {
    parts: Vec<(usize, &'a str, i64)>,
    providers: BTreeSet<usize>,
}

fn choices<'a>(forest: &Forest, tree: &Tree, suffix: &str, group: &'a Group) -> Vec<Choice<'a>> {
    if suffix.is_empty() { spread(forest, tree, group) } else { single(forest, tree, group) }
}

fn wanted_root(forest: &Forest, group: &Group) -> Option<Option<usize>> {
    group.in_tree.map(|uuid| forest.place(uuid).map(|place| forest.root(place)))
}

/// Choices of a group that comes from one provider. Aggregates count only on that provider itself.
fn single<'a>(forest: &Forest, tree: &Tree, group: &'a Group) -> Vec<Choice<'a>> {
    if group.resources.is_empty() && group.traits.required.is_empty() && group.member_of.is_empty() {
        // As in Placement: a group that asks for nothing, or only forbids, is satisfied by nobody.
        return Vec::new();
    }
    let wanted = wanted_root(forest, group);
    let fits = |place: &usize| {
        let provider = &forest.providers[*place];
        // As in Placement, which looks at the tree only where it looks for amounts.
        let in_tree = group.resources.is_empty() || wanted.is_none_or(|root| root == Some(forest.root(*place)));
        in_tree
            && group.resources.iter().all(|(class, amount)| provider.takes(class, *amount))
            && group.allows(provider)
    };
    let choice = |place: usize| Choice {
        parts: group.resources.iter().map(|(class, amount)| (place, class.as_str(), *amount)).collect(),
        providers: BTreeSet::from([place]),
    };
    tree.members.iter().chain(&tree.sharing).copied().filter(fits).map(choice).collect()
}

/// Choices of the group that may be spread over the tree. An aggregate of the root is one of the whole tree.
fn spread<'a>(forest: &Forest, tree: &Tree, group: &'a Group) -> Vec<Choice<'a>> {
    let wanted = wanted_root(forest, group);
    if wanted.is_some_and(|root| root != Some(tree.root)) {
        return Vec::new();
    }
    let root = &forest.providers[tree.root];
    if root.is_in(&group.forbidden_aggs) {
        return Vec::new();
    }
    let root_is_member = group.is_member(root);
    let may_give = |place: &usize| {
        let provider = &forest.providers[*place];
        let is_member = group.is_member(provider);
        let is_own = forest.root(*place) == tree.root;
        // Who shares must be in the aggregate itself.
        (is_member || (is_own && root_is_member))
            && !provider.is_in(&group.forbidden_aggs)
            && !group.traits.forbid(provider)
    };
    let shared = tree.sharing.iter().filter(|_| wanted.is_none());
    let givers: Vec<usize> = tree.members.iter().chain(shared).copied().filter(may_give).collect();
    let mut ways = vec![Vec::new()];
    for (class, amount) in &group.resources {
        let of_class: Vec<usize> =
            givers.iter().copied().filter(|place| forest.providers[*place].takes(class, *amount)).collect();
        let longer = |way: Vec<(usize, &'a str, i64)>| {
            of_class
                .iter()
                .map(move |place| {
                    let mut longer = way.clone();
                    longer.push((*place, class.as_str(), *amount));
                    longer
                })
                .collect::<Vec<_>>()
        };
        ways = ways.into_iter().flat_map(longer).collect();
        if ways.is_empty() {
            return Vec::new();
        }
    }
    let choice = |parts: Vec<(usize, &'a str, i64)>| {
        let providers: BTreeSet<usize> = parts.iter().map(|(place, ..)| *place).collect();
        let have = |name: &str| providers.iter().any(|place| forest.providers[*place].has_trait(name));
        group.traits.are_met(have).then_some(Choice { parts, providers })
    };
    ways.into_iter().filter_map(choice).collect()
}

struct Search<'f, 'a> {
    forest: &'f Forest,
    request: &'a Request,
    seen: Option<HashSet<AllocationRequest<'a>>>,
    found: Vec<AllocationRequest<'a>>,
    limit: usize,
}

impl<'a> Search<'_, 'a> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// Adds a choice of each group that is left to what was chosen.
    fn combine(&mut self, left: &[(&'a str, Vec<Choice<'a>>)], chosen: &mut AllocationRequest<'a>) {
        let Some(((suffix, choices), left)) = left.split_first() else {
            return self.finish(chosen);
        };
        for choice in choices {
            if self.is_full() {
                return;
            }
            if !self.may_follow(suffix, choice, chosen) {
                continue;
            }
            let mut chosen = chosen.clone();
            for (place, class, amount) in &choice.parts {
                let sum = chosen.allocations.entry(*place).or_default().entry(class).or_default();
                *sum = i64::saturating_add(*sum, *amount);
            }
            chosen.mappings.insert(suffix, choice.providers.clone());
            self.combine(left, &mut chosen);
        }
    }

    fn may_follow(&self, suffix: &str, choice: &Choice<'a>, chosen: &AllocationRequest<'a>) -> bool {
        let is_taken = || {
            let others = chosen.mappings.iter().filter(|(suffix, _)| !suffix.is_empty());
            others.flat_map(|(_, providers)| providers).any(|place| choice.providers.contains(place))
        };
        if self.request.isolate && !suffix.is_empty() && is_taken() {
            return false;
        }
        choice.parts.iter().all(|(place, class, amount)| {
            // Alone it fits.
            let Some(before) = chosen.allocations.get(place).and_then(|of_class| of_class.get(class)) else {
                return true;
            };
            let stock = self.forest.providers[*place].stock.get(*class);
            stock.is_some_and(|stock| stock.takes_sum(before.saturating_add(*amount)))
        })
    }

    fn finish(&mut self, chosen: &AllocationRequest<'a>) {
        let places = |suffixes: &BTreeSet<String>| -> BTreeSet<usize> {
            let of_suffix = |suffix: &String| chosen.mappings.get(suffix.as_str());
            suffixes.iter().filter_map(of_suffix).flatten().copied().collect()
        };
        if !self.request.same_subtree.iter().all(|suffixes| self.forest.is_subtree(&places(suffixes))) {
            return;
        }
        let roots: BTreeSet<usize> = chosen.allocations.keys().map(|place| self.forest.root(*place)).collect();
        if self.request.one_per_tree && roots.len() < chosen.allocations.len() {
            return;
        }
        if self.seen.as_mut().is_none_or(|seen| seen.insert(chosen.clone())) {
            self.found.push(chosen.clone());
        }
    }
}

/// The providers that a group allows one by one, amounts aside.
pub(crate) fn allowed(forest: &Forest, group: &Group) -> Vec<Arc<StockedProvider>> {
    let root = wanted_root(forest, group);
    let in_tree = |place: usize| root.is_none_or(|root| root == Some(forest.root(place)));
    let allowed =
        forest.providers.iter().enumerate().filter(|(place, provider)| in_tree(*place) && group.allows(provider));
    allowed.map(|(_, provider)| Arc::clone(provider)).collect()
}
