//! `/flavors` and everything under it.

pub(crate) mod access;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod extra_specs;
pub(crate) mod index;
pub(crate) mod show;
pub(crate) mod update;

use kilonova_db::flavors;
use kilonova_objects::Flavor;
use serde_json::json;

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::versions::V2_61;
use crate::views::flavors::Detail;

/// The flavor, if the caller may see it: admins see all, others the public ones and those that their project has
/// access to.
async fn visible(call: &Call, id: &str) -> Result<Flavor, ApiError> {
    let project = (!call.context.is_admin).then(|| call.context.project_id());
    Ok(flavors::get(&call.state.db, id, project).await?)
}

/// Whether the answer has the extra specs in it.
fn shows_extra_specs(call: &Call) -> bool {
    call.since(V2_61) && call.can("os_compute_api:os-flavor-extra-specs:index", call.own())
}

fn render(call: &Call, flavor: &Flavor) -> Answer {
    ok(&json!({"flavor": Detail::new(flavor, &call.links, call.version, shows_extra_specs(call))}))
}
