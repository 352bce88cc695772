//! The actions `resize`, `confirmResize`, `revertResize`, `migrate`, `os-migrateLive` and `evacuate`

use axum::http::StatusCode;
use kilonova_objects::Instance;
use serde_json::{Value, json};

use super::{authorized, target};
use crate::call::{Answer, Call, empty, ok};
use crate::compute::{create, evacuate, get, live_migrate, resize};
use crate::error::ApiError;
use crate::v21::values::boolean;
use crate::versions::{V2_14, V2_25, V2_29, V2_30, V2_34, V2_56, V2_95};

/// `resize`
pub(crate) async fn resize(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = &call.body["resize"];
    let auto_disk_config = wanted["OS-DCF:diskConfig"].as_str().map(|config| config == "AUTO");
    Box::pin(resize::resize(&call.state, &call.context, instance, &text(&wanted["flavorRef"]), auto_disk_config))
        .await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `confirmResize`
pub(crate) async fn confirm_resize(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    resize::confirm(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `revertResize`
pub(crate) async fn revert_resize(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    Box::pin(resize::revert(&call.state, &call.context, instance)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `migrate`
pub(crate) async fn migrate(call: Call) -> Answer {
    let host = call.body["migrate"]["host"].as_str().filter(|host| !host.is_empty() && call.since(V2_56));
    let instance = authorized_for(&call, host, "os_compute_api:os-migrate-server:migrate:host").await?;
    Box::pin(resize::migrate(&call.state, &call.context, instance, host)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `os-migrateLive`
pub(crate) async fn migrate_live(call: Call) -> Answer {
    let wanted = &call.body["os-migrateLive"];
    let host = wanted["host"].as_str().filter(|host| !host.is_empty());
    let instance = authorized_for(&call, host, "os_compute_api:os-migrate-server:migrate_live:host").await?;
    let asked = live_migrate::Asked {
        host: host.map(str::to_owned),
        force: force(wanted, call.since(V2_30))?,
        // `auto` is none.
        block_migration: boolean(&wanted["block_migration"]),
        disk_over_commit: if call.since(V2_25) { None } else { boolean(&wanted["disk_over_commit"]) },
        waits: !call.since(V2_34),
    };
    Box::pin(live_migrate::live_migrate(&call.state, &call.context, instance, asked)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `evacuate`
pub(crate) async fn evacuate(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = &call.body["evacuate"];
    let on_shared_storage = if call.since(V2_14) { None } else { boolean(&wanted["onSharedStorage"]) };
    let force = force(wanted, call.since(V2_29))?;
    let given = wanted["adminPass"].as_str().map(str::to_owned);
    let is_shared = on_shared_storage == Some(true);
    if given.is_some() && is_shared {
        return Err(ApiError::BadRequest("admin password can't be changed on existing disk".to_owned()));
    }
    let admin_password = match given {
        None if !is_shared => Some(create::generate_password(call.state.config.password_length)?),
        given => given,
    };
    let asked = evacuate::Asked {
        host: wanted["host"].as_str().map(str::to_owned),
        force,
        on_shared_storage,
        admin_password: admin_password.clone(),
        target_state: call.since(V2_95).then_some("stopped"),
    };
    Box::pin(evacuate::evacuate(&call.state, &call.context, instance, asked)).await?;
    if !call.since(V2_14) && call.state.config.enable_instance_password {
        return ok(&json!({"adminPass": admin_password}));
    }
    Ok(empty(StatusCode::OK))
}

/// Naming a host has a rule of its own, in place of the route's.
async fn authorized_for(call: &Call, host: Option<&str>, rule: &str) -> Result<Instance, ApiError> {
    if host.is_none() {
        return authorized(call).await;
    }
    let instance = get::get(&call.state, &call.context, call.param("id")).await?;
    call.require(rule, target(&instance))?;
    Ok(instance)
}

/// `None`: before there was such a thing, a host that was named was forced.
fn force(wanted: &Value, is_known: bool) -> Result<Option<bool>, ApiError> {
    let force = is_known.then(|| boolean(&wanted["force"]).unwrap_or(false));
    if force == Some(true) && wanted["host"].as_str().is_none_or(str::is_empty) {
        return Err(ApiError::BadRequest("Can't force to a non-provided destination".to_owned()));
    }
    Ok(force)
}

/// A text, or a number as one.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
