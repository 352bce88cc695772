//! The routes of the Networking API v2.0. The resources take the same verbs; what differs is behind [`Kind`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, put};
use axum::{Extension, Json, Router};
use kilonova_clients::identity::Identity;
use kilonova_core::RequestContext;
use kilonova_db::network::{Connection, Transaction};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::{
    BuiltinNetwork, auto_allocated, discovery, floating_ips, listing, networks, ports, quotas, router_interfaces,
    routers, rules, security_groups, subnets, trunks,
};
use crate::auth::authenticate;
use crate::web::{BaseUrl, can_write, read_json, stamp_request_id};

/// Bytes of a JSON body.
pub(super) const JSON_LIMIT: usize = 1024 * 1024;
/// Resources in one request.
const BULK_LIMIT: usize = 1000;

type Service = State<Arc<BuiltinNetwork>>;
type Caller = Extension<RequestContext>;
type Answer = Result<Json<Value>, NetworkError>;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    Subnet,
    Port,
    SecurityGroup,
    Rule,
    Router,
    FloatingIp,
    Trunk,
}

impl Kind {
    /// By the last part of the path.
    pub(super) fn parse(collection: &str) -> Result<Self, NetworkError> {
        match collection.trim_end_matches(".json") {
            "networks" => Ok(Self::Network),
            "subnets" => Ok(Self::Subnet),
            "ports" => Ok(Self::Port),
            "security-groups" => Ok(Self::SecurityGroup),
            "security-group-rules" => Ok(Self::Rule),
            "routers" => Ok(Self::Router),
            "floatingips" => Ok(Self::FloatingIp),
            "trunks" => Ok(Self::Trunk),
            _ => Err(NetworkError::no_resource()),
        }
    }

    /// As bodies and policy rules have it.
    pub(super) fn name(self) -> &'static str {
        self.key(false)
    }

    /// The key of one, or of many, in a body.
    pub(super) fn key(self, is_plural: bool) -> &'static str {
        match (self, is_plural) {
            (Self::Network, false) => "network",
            (Self::Network, true) => "networks",
            (Self::Subnet, false) => "subnet",
            (Self::Subnet, true) => "subnets",
            (Self::Port, false) => "port",
            (Self::Port, true) => "ports",
            (Self::SecurityGroup, false) => "security_group",
            (Self::SecurityGroup, true) => "security_groups",
            (Self::Rule, false) => "security_group_rule",
            (Self::Rule, true) => "security_group_rules",
            (Self::Router, false) => "router",
            (Self::Router, true) => "routers",
            (Self::FloatingIp, false) => "floatingip",
            (Self::FloatingIp, true) => "floatingips",
            (Self::Trunk, false) => "trunk",
            (Self::Trunk, true) => "trunks",
        }
    }

    pub(super) fn not_found(self, id: &str) -> NetworkError {
        match self {
            Self::Network => NetworkError::no_network(id),
            Self::Subnet => NetworkError::no_subnet(id),
            Self::Port => NetworkError::no_port(id),
            Self::SecurityGroup => NetworkError::no_security_group(id),
            Self::Rule => NetworkError::no_rule(id),
            Self::Router => NetworkError::no_router(id),
            Self::FloatingIp => NetworkError::no_floating_ip(id),
            Self::Trunk => NetworkError::no_trunk(id),
        }
    }

    /// What is no id is the id of nothing.
    pub(super) fn parse_id(self, text: &str) -> Result<Uuid, NetworkError> {
        let text = text.trim_end_matches(".json");
        Uuid::try_parse(text).map_err(|_| self.not_found(text))
    }

    pub(super) async fn show(
        self,
        connection: &impl Connection,
        context: &RequestContext,
        id: Uuid,
    ) -> Result<Value, NetworkError> {
        match self {
            Self::Network => networks::show(connection, context, id).await,
            Self::Subnet => subnets::show(connection, context, id).await,
            Self::Port => ports::show(connection, context, id).await,
            Self::SecurityGroup => security_groups::show(connection, context, id).await,
            Self::Rule => rules::show(connection, context, id).await,
            Self::Router => routers::show(connection, context, id).await,
            Self::FloatingIp => floating_ips::show(connection, context, id).await,
            Self::Trunk => trunks::show(connection, context, id).await,
        }
    }
}

pub(super) fn router(service: Arc<BuiltinNetwork>, identity: Arc<dyn Identity>) -> Router {
    let v2 = Router::new()
        .route("/v2.0/extensions", get(discovery::extensions))
        .route("/v2.0/extensions.json", get(discovery::extensions))
        .route("/v2.0/extensions/{alias}", get(discovery::show_extension))
        .route("/v2.0/quotas", get(quotas::list))
        .route("/v2.0/quotas/{project_id}", get(quotas::show))
        .route("/v2.0/quotas/{project_id}/default", get(quotas::show))
        .route("/v2.0/quotas/{project_id}/details", get(quotas::details))
        .route("/v2.0/quotas/{project_id}/details.json", get(quotas::details))
        .route("/v2.0/agents", get(discovery::agents))
        .route("/v2.0/availability_zones", get(discovery::availability_zones))
        .route("/v2.0/auto-allocated-topology/{project_id}", get(auto_allocated::show).delete(auto_allocated::delete))
        .route("/v2.0/routers/{id}/add_router_interface", put(router_interfaces::add))
        .route("/v2.0/routers/{id}/remove_router_interface", put(router_interfaces::remove))
        .route("/v2.0/trunks/{id}/add_subports", put(trunks::add_subports))
        .route("/v2.0/trunks/{id}/remove_subports", put(trunks::remove_subports))
        .route("/v2.0/trunks/{id}/get_subports", get(trunks::get_subports))
        .route("/v2.0/{collection}", get(list).post(create))
        .route("/v2.0/{collection}/{id}", get(show).put(update).delete(delete))
        .with_state(service)
        .layer(from_fn(stamp_request_id))
        .layer(from_fn_with_state(identity, authenticate));
    Router::new()
        .route("/", get(discovery::versions))
        .route("/v2.0", get(discovery::resources))
        .route("/v2.0/", get(discovery::resources))
        .merge(v2)
        .fallback(discovery::fallback)
        .layer(from_fn(stamp_request_id))
}

async fn list(
    State(service): Service,
    Extension(context): Caller,
    Path(collection): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    base: BaseUrl,
) -> Answer {
    let kind = Kind::parse(&collection)?;
    let views = service.views(&context, kind, &pairs).await?;
    Ok(Json(listing::respond(kind, &format!("{}/v2.0/{collection}", base.0), &pairs, views)?))
}

async fn show(
    State(service): Service,
    Extension(context): Caller,
    Path((collection, id)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Answer {
    let kind = Kind::parse(&collection)?;
    let view = kind.show(service.db.read(), &context, kind.parse_id(&id)?).await?;
    Ok(Json(json!({ kind.name(): listing::select(view, &listing::values(&pairs, "fields")) })))
}

/// One, or many at once: all of them or none.
async fn create(
    State(service): Service,
    Extension(context): Caller,
    Path(collection): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), NetworkError> {
    let kind = Kind::parse(&collection)?;
    if !can_write(&context) {
        return Err(NetworkError::forbidden(&format!("create_{}", kind.name())));
    }
    let body = read_json(body, JSON_LIMIT).await?;
    let (is_bulk, items) = match (body.get(kind.key(false)), body.get(kind.key(true)).and_then(Value::as_array)) {
        (Some(item), _) => (false, std::slice::from_ref(item)),
        (None, Some(items)) if !items.is_empty() && items.len() <= BULK_LIMIT => (true, items.as_slice()),
        _ => return Err(unfit_body(kind)),
    };
    let parse = |item| Attributes::for_create(kind, &context, item);
    let items: Vec<Attributes> = items.iter().map(parse).collect::<Result<_, _>>()?;
    let mut views = service.db.retry(|| service.create_all(&context, kind, &items)).await?;
    let body = match views.pop() {
        Some(view) if !is_bulk => view,
        last => Value::Array(views.into_iter().chain(last).collect()),
    };
    Ok((StatusCode::CREATED, Json(json!({ kind.key(is_bulk): body }))))
}

async fn update(
    State(service): Service,
    Extension(context): Caller,
    Path((collection, id)): Path<(String, String)>,
    body: Body,
) -> Answer {
    let kind = Kind::parse(&collection)?;
    let id = kind.parse_id(&id)?;
    let body = read_json(body, JSON_LIMIT).await?;
    let item = body.get(kind.name()).ok_or_else(|| unfit_body(kind))?;
    let attributes = Attributes::for_update(kind, &context, item)?;
    let view = service.db.retry(|| service.update(&context, kind, id, &attributes)).await?;
    Ok(Json(json!({ kind.name(): view })))
}

async fn delete(
    State(service): Service,
    Extension(context): Caller,
    Path((collection, id)): Path<(String, String)>,
) -> Result<StatusCode, NetworkError> {
    let kind = Kind::parse(&collection)?;
    let id = kind.parse_id(&id)?;
    service.db.retry(|| service.delete(&context, kind, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn unfit_body(kind: Kind) -> NetworkError {
    NetworkError::bad_request(format!("Unable to find '{}' in request body", kind.name()))
}

impl BuiltinNetwork {
    /// All of a collection that the caller may see, or those of them that the database can choose by `pairs`.
    pub(super) async fn views(
        &self,
        context: &RequestContext,
        kind: Kind,
        pairs: &[(String, String)],
    ) -> Result<Vec<Value>, NetworkError> {
        let db = self.db.read();
        match kind {
            Kind::Network => networks::list(db, context).await,
            Kind::Subnet => subnets::list(db, context).await,
            Kind::Port => ports::list(db, context, pairs).await,
            Kind::SecurityGroup => {
                self.ensure_default_group_of_list(context, pairs).await?;
                security_groups::list(db, context).await
            }
            Kind::Rule => {
                self.ensure_own_default_group(context).await?;
                rules::list(db, context).await
            }
            Kind::Router => routers::list(db, context).await,
            Kind::FloatingIp => floating_ips::list(db, context).await,
            Kind::Trunk => trunks::list(db, context).await,
        }
    }
}

/// Each a transaction of its own.
impl BuiltinNetwork {
    pub(super) async fn create_all(
        &self,
        context: &RequestContext,
        kind: Kind,
        items: &[Attributes],
    ) -> Result<Vec<Value>, NetworkError> {
        let tx = self.db.begin().await?;
        let mut views = Vec::with_capacity(items.len());
        for attributes in items {
            let id = self.create(&tx, context, kind, attributes).await?;
            views.push(kind.show(&tx, context, id).await?);
        }
        tx.commit().await?;
        Ok(views)
    }

    pub(super) async fn update(
        &self,
        context: &RequestContext,
        kind: Kind,
        id: Uuid,
        attributes: &Attributes,
    ) -> Result<Value, NetworkError> {
        let tx = self.db.begin().await?;
        match kind {
            Kind::Network => networks::update(&tx, context, id, attributes).await?,
            Kind::Subnet => subnets::update(&tx, context, id, attributes).await?,
            Kind::Port => self.update_port(&tx, context, id, attributes).await?,
            Kind::SecurityGroup => security_groups::update(&tx, context, id, attributes).await?,
            Kind::Rule => rules::update(&tx, context, id, attributes).await?,
            Kind::Router => self.update_router(&tx, context, id, attributes).await?,
            Kind::FloatingIp => floating_ips::update(&tx, context, id, attributes).await?,
            Kind::Trunk => trunks::update(&tx, context, id, attributes).await?,
        }
        let view = kind.show(&tx, context, id).await?;
        tx.commit().await?;
        Ok(view)
    }

    pub(super) async fn delete(&self, context: &RequestContext, kind: Kind, id: Uuid) -> Result<(), NetworkError> {
        let tx = self.db.begin().await?;
        match kind {
            Kind::Network => networks::delete(&tx, context, id).await?,
            Kind::Subnet => subnets::delete(&tx, context, id).await?,
            Kind::Port => ports::delete(&tx, context, id).await?,
            Kind::SecurityGroup => security_groups::delete(&tx, context, id).await?,
            Kind::Rule => rules::delete(&tx, context, id).await?,
            Kind::Router => routers::delete(&tx, context, id).await?,
            Kind::FloatingIp => floating_ips::delete(&tx, context, id).await?,
            Kind::Trunk => trunks::delete(&tx, context, id).await?,
        }
        Ok(tx.commit().await?)
    }
}

impl BuiltinNetwork {
    async fn create(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        kind: Kind,
        attributes: &Attributes,
    ) -> Result<Uuid, NetworkError> {
        match kind {
            Kind::Network => networks::create(tx, context, attributes).await,
            Kind::Subnet => subnets::create(tx, context, attributes).await,
            Kind::Port => self.create_port(tx, context, attributes).await,
            Kind::SecurityGroup => security_groups::create(tx, context, attributes).await,
            Kind::Rule => rules::create(tx, context, attributes).await,
            Kind::Router => self.create_router(tx, context, attributes).await,
            Kind::FloatingIp => self.create_floating_ip(tx, context, attributes).await,
            Kind::Trunk => trunks::create(tx, context, attributes).await,
        }
    }

    /// An admin who lists the groups of a project finds its default one.
    async fn ensure_default_group_of_list(
        &self,
        context: &RequestContext,
        pairs: &[(String, String)],
    ) -> Result<(), NetworkError> {
        let named = ["project_id", "tenant_id"].iter().flat_map(|key| listing::values(pairs, key)).next();
        match named.filter(|project_id| context.is_admin && !project_id.is_empty()) {
            Some(project_id) => self.default_group(project_id).await.map(drop),
            None => self.ensure_own_default_group(context).await,
        }
    }

    /// A project that looks at its groups finds the default one.
    async fn ensure_own_default_group(&self, context: &RequestContext) -> Result<(), NetworkError> {
        match context.project_id() {
            "" => Ok(()),
            project_id => self.default_group(project_id).await.map(drop),
        }
    }
}
