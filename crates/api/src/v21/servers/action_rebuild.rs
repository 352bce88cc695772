//! The action `rebuild`

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::create::{injected_files, texts, truthy};
use super::metadata::pairs;
use super::{asked, authorized, target, viewer, volumes};
use crate::call::{Answer, Call, json};
use crate::compute::create::generate_password;
use crate::compute::rebuild::{Rebuild, rebuild as rebuild_server};
use crate::compute::{self, host_status, server_groups};
use crate::error::ApiError;
use crate::versions::{V2_54, V2_57, V2_63, V2_71, V2_75, V2_90, V2_93};
use crate::views::servers::{Kind, One, Rebuilt};

const TRUSTED_CERTS: &str = "os_compute_api:servers:rebuild:trusted_certs";

/// `rebuild`
pub(crate) async fn rebuild(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = wanted(&call)?;
    if wanted.trusted_certs.is_some() {
        call.require(TRUSTED_CERTS, target(&instance))?;
    }
    let (uuid, password) = (instance.uuid, wanted.admin_password.clone());
    Box::pin(rebuild_server(&call.state, &call.context, instance, wanted)).await?;
    answer(&call, &uuid.to_string(), &password).await
}

/// What a `PUT` answers, and what the caller has to know of the new server.
async fn answer(call: &Call, id: &str, password: &str) -> Answer {
    let rebuilt = compute::get::get(&call.state, &call.context, id).await?;
    let mut viewer = viewer(call, Kind::Rebuild, target(&rebuilt));
    viewer.asked = asked(call, std::slice::from_ref(&rebuilt)).await?;
    viewer.volumes = volumes(call, std::slice::from_ref(&rebuilt)).await?;
    if viewer.shown.host_status && call.since(V2_75) {
        viewer.host_statuses = host_status::all(&call.state).await?;
    }
    if call.since(V2_71) {
        viewer.server_group = server_groups::of_server(&call.state, &call.context, rebuilt.uuid).await?;
    }
    let server = Rebuilt {
        server: viewer.server(&rebuilt),
        // From 2.75 on it is in the view already.
        key_name: (call.since(V2_54) && !call.since(V2_75)).then_some(rebuilt.key_name.as_deref()),
        user_data: call.since(V2_57).then_some(rebuilt.user_data.as_deref()),
        admin_pass: call.state.config.enable_instance_password.then_some(password),
    };
    let mut response = json(StatusCode::ACCEPTED, &One { server });
    if let Ok(location) = HeaderValue::try_from(call.links.href("servers", id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The request as the internal API takes it. The schema has checked the types, and which of them there may be.
fn wanted(call: &Call) -> Result<Rebuild, ApiError> {
    let body = &call.body["rebuild"];
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    // There and null is not the same as not there.
    let nullable = |name: &str| body.get(name).map(|value| value.as_str().map(str::to_owned));
    let admin_password = match text("adminPass") {
        Some(password) => password,
        None => generate_password(call.state.config.password_length)?,
    };
    let image_ref = body["imageRef"].as_str().unwrap_or_default();
    let certificates = |value: &Value| value.is_array().then(|| texts(value));
    Ok(Rebuild {
        image_ref: image_ref.parse().map_err(|_| ApiError::BadRequest("Cannot find image for rebuild".to_owned()))?,
        admin_password,
        display_name: text("name").map(|name| name.trim().to_owned()),
        display_description: nullable("description"),
        metadata: body.get("metadata").map(pairs),
        access_ip_v4: text("accessIPv4"),
        access_ip_v6: text("accessIPv6"),
        auto_disk_config: body["OS-DCF:diskConfig"].as_str().map(|value| value == "AUTO"),
        preserve_ephemeral: truthy(&body["preserve_ephemeral"]),
        injected_files: injected_files(&body["personality"])?,
        key_name: nullable("key_name").filter(|_| call.since(V2_54)),
        user_data: nullable("user_data").filter(|_| call.since(V2_57)),
        trusted_certs: body.get("trusted_image_certificates").map(certificates).filter(|_| call.since(V2_63)),
        hostname: text("hostname").filter(|_| call.since(V2_90)),
        reimage_boot_volume: call.since(V2_93),
    })
}
