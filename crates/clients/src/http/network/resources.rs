//! Neutron's verbs, passed on with the caller's token.

use async_trait::async_trait;
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{HttpNetwork, KIND};
use crate::ClientError;
use crate::http::adapter::Call;
use crate::neutron::{Collection, Filters, Neutron};

#[async_trait]
impl Neutron for HttpNetwork {
    async fn list_resources(
        &self,
        context: &RequestContext,
        collection: Collection,
        filters: Filters<'_>,
    ) -> Result<Vec<Value>, ClientError> {
        let call = Call::get(&[collection.path()]);
        let call = filters.iter().fold(call, |call, (name, value)| call.query(*name, value));
        let refused = |failure: super::Failure| failure.error(KIND.service, collection.resource(), "");
        match self.pages(context, call, collection.key(), refused).await {
            // A Neutron without routers has no such collection.
            Err(ClientError::NotFound { .. }) if collection == Collection::FloatingIps => Ok(Vec::new()),
            listed => listed,
        }
    }

    async fn show_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: &str,
    ) -> Result<Value, ClientError> {
        self.item(context, collection, Call::get(&[collection.path(), id]), id).await
    }

    async fn create_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        item: Value,
    ) -> Result<Value, ClientError> {
        let call = Call::post(&[collection.path()], json!({ collection.item_key(): item }));
        self.item(context, collection, call, "").await
    }

    async fn update_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
        item: Value,
    ) -> Result<Value, ClientError> {
        let id = id.to_string();
        let call = Call::put(&[collection.path(), &id], json!({ collection.item_key(): item }));
        self.item(context, collection, call, &id).await
    }

    async fn delete_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
    ) -> Result<(), ClientError> {
        let answer = self.adapter.send(context, &Call::delete(&[collection.path(), &id.to_string()])).await?;
        answer.ok().map(drop).map_err(|failure| failure.error(KIND.service, collection.resource(), id))
    }
}

impl HttpNetwork {
    /// What is under the key of one in the answer.
    async fn item(
        &self,
        context: &RequestContext,
        collection: Collection,
        call: Call,
        id: &str,
    ) -> Result<Value, ClientError> {
        let answer = self.adapter.send(context, &call).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, collection.resource(), id))?;
        Ok(body[collection.item_key()].take())
    }
}
