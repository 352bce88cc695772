//! Placement, as Nova's report client speaks to it.
//!
//! Placement answers a change that was decided on an old view with `placement.concurrent_update`. Every change here
//! looks, decides and writes with the generation that it saw; on that answer it looks again, a few times.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{try_join, try_join_all, try_join3};
use kilonova_core::{Config, RequestContext};
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use self::wire::{
    AllocationBody, CandidatesBody, ConsumerBody, InventoriesBody, InventoryBody, ProviderBody, ProvidersBody,
    TraitsBody,
};
use super::adapter::{Adapter, By, Call, Kind, wait};
use super::options::HttpConfigError;
use super::session::Sessions;
use crate::ClientError;
use crate::placement::{Allocations, Candidate, CandidatesQuery, Inventory, Placement, Resources};

const KIND: Kind = Kind {
    service: "placement",
    section: "placement",
    service_type: "placement",
    retries_option: None,
    version: None,
    // What Nova asks for, since Train.
    header: Some(("openstack-api-version", "placement 1.36")),
};
const PROVIDER: &str = "resource provider";
/// How often a change is tried while others change the same.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(20);
const CUSTOM: &str = "CUSTOM_";

/// Placement over HTTP; always with the service's own token.
pub struct HttpPlacement {
    adapter: Adapter,
}

/// A provider as it is.
struct Current {
    name: String,
    generation: i64,
    inventory: BTreeMap<String, Inventory>,
    traits: BTreeSet<String>,
}

impl HttpPlacement {
    /// From `[placement]`.
    pub fn from_config(config: &Config, sessions: &mut Sessions) -> Result<Self, HttpConfigError> {
        Ok(Self { adapter: Adapter::from_config(config, sessions, KIND)? })
    }

    /// Asks something about a provider.
    async fn about<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        provider: Uuid,
        what: Option<&str>,
    ) -> Result<T, ClientError> {
        let id = provider.to_string();
        let path: Vec<&str> = ["resource_providers", &id].into_iter().chain(what).collect();
        self.provider_call(context, provider, Call::get(&path)).await
    }

    /// A call whose 404 means that the provider is not there.
    async fn provider_call<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        provider: Uuid,
        call: Call,
    ) -> Result<T, ClientError> {
        let answer = self.adapter.send(context, &call.by(By::Service)).await?;
        parse(answer.ok().map_err(|failure| failure.error(KIND.service, PROVIDER, provider))?)
    }

    /// Any other call.
    async fn call<T: DeserializeOwned>(&self, context: &RequestContext, call: Call) -> Result<T, ClientError> {
        let answer = self.adapter.send(context, &call.by(By::Service)).await?;
        parse(answer.ok().map_err(|failure| failure.other(KIND.service))?)
    }

    /// None: it is not there.
    async fn current(&self, context: &RequestContext, provider: Uuid) -> Result<Option<Current>, ClientError> {
        let read = try_join3(
            self.about::<ProviderBody>(context, provider, None),
            self.about::<InventoriesBody>(context, provider, Some("inventories")),
            self.about::<TraitsBody>(context, provider, Some("traits")),
        );
        let (body, inventories, traits) = match read.await {
            Ok(read) => read,
            Err(ClientError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let generation = body.generation;
        if inventories.generation != generation || traits.generation != generation {
            return Err(ClientError::ConcurrentUpdate(format!("{PROVIDER} {provider} changed while it was read")));
        }
        let inventory = inventories.inventories.into_iter().map(|(class, body)| (class, body.into())).collect();
        Ok(Some(Current { name: body.name, generation, inventory, traits: traits.traits }))
    }

    async fn create(&self, context: &RequestContext, uuid: Uuid, name: &str) -> Result<Current, ClientError> {
        let call = Call::post(&["resource_providers"], json!({"uuid": uuid, "name": name}));
        match self.call::<ProviderBody>(context, call).await {
            Ok(body) => {
                let (inventory, traits) = (BTreeMap::new(), BTreeSet::new());
                Ok(Current { name: body.name, generation: body.generation, inventory, traits })
            }
            // The same code for a uuid that somebody made meanwhile and for a name that is another's.
            Err(ClientError::Conflict(text)) => match self.about::<ProviderBody>(context, uuid, None).await {
                Ok(_) => Err(ClientError::ConcurrentUpdate(text)),
                Err(ClientError::NotFound { .. }) => Err(ClientError::Conflict(text)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn set_once(&self, context: &RequestContext, wanted: &Wanted<'_>) -> Result<(), ClientError> {
        let id = wanted.uuid.to_string();
        let current = match self.current(context, wanted.uuid).await? {
            Some(current) => current,
            None => self.create(context, wanted.uuid, wanted.name).await?,
        };
        let mut generation = current.generation;
        if current.name != wanted.name {
            let call = Call::put(&["resource_providers", &id], json!({"name": wanted.name}));
            let renamed: ProviderBody = self.provider_call(context, wanted.uuid, call).await?;
            generation = renamed.generation;
        }
        if current.inventory != wanted.inventory {
            let is_new = |class: &&String| class.starts_with(CUSTOM) && !current.inventory.contains_key(*class);
            let declare =
                wanted.inventory.keys().filter(is_new).map(|class| self.declare(context, "resource_classes", class));
            try_join_all(declare).await?;
            let body = json!({
                "resource_provider_generation": generation,
                "inventories": wanted.inventory.iter().map(|(class, it)| (class, InventoryBody::from(it))).collect::<BTreeMap<_, _>>(),
            });
            let call = Call::put(&["resource_providers", &id, "inventories"], body);
            let changed: InventoriesBody = self.provider_call(context, wanted.uuid, call).await?;
            generation = changed.generation;
        }
        if current.traits != wanted.traits {
            self.put_traits(context, wanted.uuid, generation, &current.traits, &wanted.traits).await?;
        }
        Ok(())
    }

    async fn change_traits_once(
        &self,
        context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        let TraitsBody { generation, traits } = self.about(context, provider, Some("traits")).await?;
        let kept = traits.iter().filter(|name| !remove.contains(name));
        let wanted: BTreeSet<String> = kept.chain(add).cloned().collect();
        if wanted == traits {
            return Ok(());
        }
        self.put_traits(context, provider, generation, &traits, &wanted).await
    }

    async fn put_traits(
        &self,
        context: &RequestContext,
        provider: Uuid,
        generation: i64,
        before: &BTreeSet<String>,
        wanted: &BTreeSet<String>,
    ) -> Result<(), ClientError> {
        let new: Vec<&str> =
            wanted.difference(before).map(String::as_str).filter(|it| it.starts_with(CUSTOM)).collect();
        if !new.is_empty() {
            self.declare_traits(context, &new).await?;
        }
        let body = json!({"resource_provider_generation": generation, "traits": wanted});
        let call = Call::put(&["resource_providers", &provider.to_string(), "traits"], body);
        self.provider_call::<TraitsBody>(context, provider, call).await?;
        Ok(())
    }

    /// Custom traits exist once somebody said so.
    async fn declare_traits(&self, context: &RequestContext, names: &[&str]) -> Result<(), ClientError> {
        let call = Call::get(&["traits"]).query("name", format!("in:{}", names.join(",")));
        let mut body: Value = self.call(context, call).await?;
        let known: BTreeSet<String> = parse(body["traits"].take())?;
        let unknown = names.iter().filter(|name| !known.contains(**name));
        try_join_all(unknown.map(|name| self.declare(context, "traits", name))).await?;
        Ok(())
    }

    async fn declare(&self, context: &RequestContext, collection: &str, name: &str) -> Result<(), ClientError> {
        self.call::<Value>(context, Call::declare(&[collection, name])).await?;
        Ok(())
    }

    /// None: the consumer has nothing and never had.
    async fn consumer(&self, context: &RequestContext, consumer: Uuid) -> Result<ConsumerBody, ClientError> {
        self.call(context, Call::get(&["allocations", &consumer.to_string()])).await
    }

    /// One request changes both consumers, or none.
    async fn move_once(&self, context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError> {
        let (source, target) = try_join(self.consumer(context, from), self.consumer(context, to)).await?;
        if source.allocations.is_empty() {
            return Ok(());
        }
        let entry = |consumer: &ConsumerBody, allocations: Value| {
            json!({
                "allocations": allocations,
                "project_id": source.project_id,
                "user_id": source.user_id,
                "consumer_generation": consumer.generation,
            })
        };
        let moved: BTreeMap<Uuid, Value> = source
            .allocations
            .iter()
            .map(|(provider, allocation)| (*provider, json!({"resources": allocation.resources})))
            .collect();
        let body = json!({
            from.to_string(): entry(&source, json!({})),
            to.to_string(): entry(&target, json!(moved)),
        });
        self.call::<Value>(context, Call::post(&["allocations"], body)).await?;
        Ok(())
    }

    async fn release(&self, context: &RequestContext, consumer: Uuid) -> Result<(), ClientError> {
        let call = Call::delete(&["allocations", &consumer.to_string()]).by(By::Service);
        match self.adapter.send(context, &call).await?.ok() {
            Err(failure) if failure.status != StatusCode::NOT_FOUND => Err(failure.other(KIND.service)),
            _ => Ok(()),
        }
    }
}

/// What a provider shall be.
struct Wanted<'a> {
    uuid: Uuid,
    name: &'a str,
    inventory: BTreeMap<String, Inventory>,
    traits: BTreeSet<String>,
}

/// Does it again while somebody else changes the same.
async fn persist<F, T>(attempt: impl Fn(u32) -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut number = 0;
    loop {
        match attempt(number).await {
            Err(ClientError::ConcurrentUpdate(reason)) if number + 1 < ATTEMPTS => {
                tracing::debug!(reason, "somebody else changed it: looking again");
                wait(FIRST_DELAY, number).await;
                number += 1;
            }
            done => return done,
        }
    }
}

#[async_trait]
impl Placement for HttpPlacement {
    async fn set_provider(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        name: &str,
        inventory: &BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<(), ClientError> {
        // Placement knows no inventory of nothing.
        let some = inventory.iter().filter(|(_, inventory)| inventory.total != 0);
        let inventory = some.map(|(class, inventory)| (class.clone(), inventory.clone())).collect();
        let wanted = Wanted { uuid, name, inventory, traits: traits.iter().cloned().collect() };
        persist(|_| self.set_once(context, &wanted)).await
    }

    async fn change_traits(
        &self,
        context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        persist(|_| self.change_traits_once(context, provider, add, remove)).await
    }

    async fn delete_provider(&self, context: &RequestContext, provider: Uuid) -> Result<(), ClientError> {
        let call = Call::delete(&["resource_providers", &provider.to_string()]);
        self.provider_call::<Value>(context, provider, call).await?;
        Ok(())
    }

    async fn provider_traits(&self, context: &RequestContext, provider: Uuid) -> Result<Vec<String>, ClientError> {
        let body: TraitsBody = self.about(context, provider, Some("traits")).await?;
        Ok(body.traits.into_iter().collect())
    }

    /// Where a request is spread over several providers (nested or sharing ones), it is not a candidate: compute's
    /// providers have all that a server takes. Placement refuses a query without amounts.
    async fn allocation_candidates(
        &self,
        context: &RequestContext,
        query: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        let asked = |path: &'static str| wire::chosen(Call::get(&[path]), query);
        let limited =
            query.limit.into_iter().fold(asked("allocation_candidates"), |call, limit| call.query("limit", limit));
        // Candidates have no names and generations.
        let (found, providers): (CandidatesBody, ProvidersBody) =
            try_join(self.call(context, limited), self.call(context, asked("resource_providers"))).await?;
        Ok(found.candidates(providers))
    }

    async fn set_allocations(
        &self,
        context: &RequestContext,
        consumer: Uuid,
        project_id: &str,
        user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError> {
        let some = allocations.iter().filter(|(_, resources)| !resources.is_empty());
        let wanted: BTreeMap<Uuid, Value> =
            some.map(|(uuid, amounts)| (*uuid, json!({"resources": amounts}))).collect();
        if wanted.is_empty() {
            return self.release(context, consumer).await;
        }
        let put = |attempt: u32| {
            let wanted = &wanted;
            async move {
                // Nearly always it is the first claim of a new server, so that is what is tried without a look.
                let generation = match attempt {
                    0 => None,
                    _ => self.consumer(context, consumer).await?.generation,
                };
                let body = json!({
                    "allocations": wanted, "project_id": project_id, "user_id": user_id, "consumer_generation": generation,
                });
                self.call::<Value>(context, Call::put(&["allocations", &consumer.to_string()], body)).await
            }
        };
        persist(put).await?;
        Ok(())
    }

    async fn allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<Allocations, ClientError> {
        let found = self.consumer(context, consumer).await?.allocations;
        Ok(found.into_iter().map(|(provider, allocation)| (provider, allocation.resources)).collect())
    }

    async fn delete_allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<(), ClientError> {
        self.release(context, consumer).await
    }

    async fn move_allocations(&self, context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError> {
        persist(|_| self.move_once(context, from, to)).await
    }

    async fn provider_allocations(
        &self,
        context: &RequestContext,
        provider: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        let mut body: Value = self.about(context, provider, Some("allocations")).await?;
        let found: BTreeMap<Uuid, AllocationBody> = parse(body["allocations"].take())?;
        Ok(found.into_iter().map(|(consumer, allocation)| (consumer, allocation.resources)).collect())
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value)
        .map_err(|error| ClientError::unavailable(KIND.service, format!("an answer that makes no sense: {error}")))
}
