//! `GET /os-keypairs`

use kilonova_db::{DbError, keypairs};
use serde::Serialize;
use serde_json::{Value, json};

use super::authorized_user;
use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::v21::paging::Page;
use crate::versions::V2_35;
use crate::views::keypairs::Brief;
use crate::views::links::Link;

#[derive(Serialize)]
struct KeyPairs {
    keypairs: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keypairs_links: Option<[Link; 1]>,
}

pub(crate) async fn index(call: Call) -> Answer {
    let user_id = authorized_user(&call)?;
    let page = call.since(V2_35).then(|| Page::of(&call));
    let (limit, marker) = page.map_or((None, None), |page| (Some(page.limit), page.marker));
    let found = keypairs::list(&call.state.db, user_id, limit, marker).await.map_err(|error| match error {
        DbError::NotFound { resource: "marker", id } => {
            ApiError::BadRequest(format!("Marker {id} could not be found."))
        }
        other => other.into(),
    })?;
    let next = limit.and_then(|_| {
        let last = found.last().map(|keypair| keypair.name.as_str());
        call.links.next("os-keypairs", &call.query, call.state.config.max_limit, found.len(), last)
    });
    let keypairs = found.iter().map(|keypair| json!({"keypair": Brief::new(keypair, call.version)})).collect();
    ok(&KeyPairs { keypairs, keypairs_links: next.map(|link| [link]) })
}
