//! `PUT /os-services/enable`, `disable`, `disable-log-reason` and (2.11) `force-down`: up to 2.52, with the host and the
//! binary in the body.

use serde_json::{Map, Value, json};

use super::only_compute;
use crate::call::{Answer, Call, ok};
use crate::compute::services;
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::values::boolean;
use crate::versions::V2_11;

pub(super) async fn update(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let (changes, mut answer) = plan(&call)?;
    let [host, binary] = ["host", "binary"].map(|name| call.body[name].as_str().unwrap_or_default());
    only_compute(binary)?;
    let service = services::of_host(&call.state, host).await?;
    services::update(&call.state, &call.context, &service, &changes).await?;
    answer.insert("host".to_owned(), json!(host));
    answer.insert("binary".to_owned(), json!(binary));
    ok(&json!({"service": answer}))
}

type Fields = Map<String, Value>;

/// What changes, and what the answer says of it.
fn plan(call: &Call) -> Result<(Fields, Fields), ApiError> {
    let missing = |what: &str| ApiError::BadRequest(format!("Missing {what} field"));
    let reason = &call.body["disabled_reason"];
    match call.param("id") {
        "enable" => Ok(set(false, &Value::Null)),
        "disable" => Ok(set(true, &Value::Null)),
        "disable-log-reason" if reason.is_null() => Err(missing("disabled reason")),
        "disable-log-reason" => Ok(set(true, reason)),
        "force-down" if call.since(V2_11) => {
            let forced_down = boolean(&call.body["forced_down"]).ok_or_else(|| missing("forced_down"))?;
            let fields = Map::from_iter([("forced_down".to_owned(), json!(forced_down))]);
            Ok((fields.clone(), fields))
        }
        _ => Err(ApiError::NotFound("Unknown action".to_owned())),
    }
}

fn set(disabled: bool, reason: &Value) -> (Fields, Fields) {
    let changes = json!({"disabled": disabled, "disabled_reason": reason});
    let mut answer = Map::from_iter([("status".to_owned(), json!(if disabled { "disabled" } else { "enabled" }))]);
    if !reason.is_null() {
        answer.insert("disabled_reason".to_owned(), reason.clone());
    }
    (changes.as_object().cloned().unwrap_or_default(), answer)
}
