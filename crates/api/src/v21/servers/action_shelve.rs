//! The actions `shelve`, `shelveOffload` and `unshelve`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::shelve::{self, Destination};
use crate::versions::{V2_77, V2_91};

/// `shelve`
pub(crate) async fn shelve(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    Box::pin(shelve::shelve(&call.state, &call.context, instance)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `shelveOffload`
pub(crate) async fn shelve_offload(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    shelve::shelve_offload(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `unshelve`
pub(crate) async fn unshelve(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = &call.body["unshelve"];
    let zone = wanted.get("availability_zone").filter(|_| call.since(V2_77));
    let to = Destination {
        new_az: zone.map(|zone| zone.as_str().filter(|zone| !zone.is_empty()).map(str::to_owned)),
        host: wanted["host"].as_str().filter(|host| call.since(V2_91) && !host.is_empty()).map(str::to_owned),
    };
    Box::pin(shelve::unshelve(&call.state, &call.context, instance, to)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
