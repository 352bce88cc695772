//! Neutron's verbs, by the same functions as over HTTP.

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::neutron::{Collection, Filters, Neutron};
use kilonova_core::RequestContext;
use serde_json::Value;
use uuid::Uuid;

use super::{client_error, failed};
use crate::network::attributes::Attributes;
use crate::network::error::NetworkError;
use crate::network::routes::Kind;
use crate::network::{BuiltinNetwork, listing};
use crate::web::can_write;

#[async_trait]
impl Neutron for BuiltinNetwork {
    async fn list_resources(
        &self,
        context: &RequestContext,
        collection: Collection,
        filters: Filters<'_>,
    ) -> Result<Vec<Value>, ClientError> {
        // Nobody here has what this service does not know.
        let Ok(kind) = Kind::parse(collection.path()) else { return Ok(Vec::new()) };
        let pairs: Vec<_> = filters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut views = self.views(context, kind, &pairs).await.map_err(client_error)?;
        views.retain(|view| listing::matches(view, &pairs));
        Ok(views)
    }

    async fn show_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: &str,
    ) -> Result<Value, ClientError> {
        let (kind, id) = named(collection, id)?;
        let shown = kind.show(self.db.read(), context, id).await;
        shown.map_err(|error| refused(error, collection, &id.to_string()))
    }

    async fn create_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        item: Value,
    ) -> Result<Value, ClientError> {
        let not_found = |error| refused(error, collection, "");
        let kind = Kind::parse(collection.path()).map_err(not_found)?;
        if !can_write(context) {
            return Err(client_error(NetworkError::forbidden(&format!("create_{}", kind.name()))));
        }
        let attributes = Attributes::for_create(kind, context, &item).map_err(not_found)?;
        let attributes = std::slice::from_ref(&attributes);
        let made = self.db.retry(|| self.create_all(context, kind, attributes)).await.map_err(not_found)?;
        made.into_iter().next().ok_or_else(|| ClientError::unavailable("network", "nothing was made"))
    }

    async fn update_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
        item: Value,
    ) -> Result<Value, ClientError> {
        let not_found = |error| refused(error, collection, &id.to_string());
        let kind = Kind::parse(collection.path()).map_err(not_found)?;
        let attributes = Attributes::for_update(kind, context, &item).map_err(not_found)?;
        self.db.retry(|| self.update(context, kind, id, &attributes)).await.map_err(not_found)
    }

    async fn delete_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
    ) -> Result<(), ClientError> {
        let not_found = |error| refused(error, collection, &id.to_string());
        let kind = Kind::parse(collection.path()).map_err(not_found)?;
        self.db.retry(|| self.delete(context, kind, id)).await.map_err(not_found)
    }
}

/// A resource of this service. What is no id is the id of nothing.
fn named(collection: Collection, id: &str) -> Result<(Kind, Uuid), ClientError> {
    let not_found = || ClientError::not_found(collection.resource(), id);
    let kind = Kind::parse(collection.path()).map_err(|_| not_found())?;
    Ok((kind, id.parse().map_err(|_| not_found())?))
}

/// A 404 is about the resource that was named.
fn refused(error: NetworkError, collection: Collection, id: &str) -> ClientError {
    match error {
        NetworkError::Refused { status, .. } if status == axum::http::StatusCode::NOT_FOUND => {
            ClientError::not_found(collection.resource(), id)
        }
        NetworkError::Database(error) => failed(error),
        other => client_error(other),
    }
}
