//! `POST /flavors`

use kilonova_db::{DbError, flavors};
use kilonova_objects::Flavor;
use serde_json::Value;
use uuid::Uuid;

use crate::call::{Answer, Call};
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::values::{boolean, integer};

pub(crate) async fn create(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let flavor = requested(&call.body["flavor"])?;
    let created = flavors::create(&call.state.db, &flavor, &[]).await.map_err(|error| taken(error, &flavor))?;
    super::render(&call, &created)
}

/// The flavor that the body describes; the schema let it through.
fn requested(body: &Value) -> Result<Flavor, ApiError> {
    let number = |name: &str| integer(&body[name]).unwrap_or(0);
    Ok(Flavor {
        flavorid: flavorid(&body["id"]),
        name: body["name"].as_str().map(|name| name.trim().to_owned()),
        memory_mb: number("ram"),
        vcpus: number("vcpus"),
        root_gb: number("disk"),
        ephemeral_gb: number("OS-FLV-EXT-DATA:ephemeral"),
        swap: number("swap"),
        rxtx_factor: Some(rxtx_factor(&body["rxtx_factor"])?),
        vcpu_weight: Some(0),
        is_public: boolean(&body["os-flavor-access:is_public"]).unwrap_or(true),
        description: body["description"].as_str().map(str::to_owned),
        ..Flavor::default()
    })
}

/// A new uuid where there is none; as in Nova the number 0 is none too.
fn flavorid(id: &Value) -> String {
    match id {
        Value::String(id) => id.clone(),
        Value::Number(number) if number.as_f64() != Some(0.0) => number.to_string(),
        _ => Uuid::new_v4().to_string(),
    }
}

/// The schema does not look at the bounds of a text.
fn rxtx_factor(factor: &Value) -> Result<f64, ApiError> {
    let factor = match factor {
        Value::Null => Some(1.0),
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    factor.filter(|factor| (f64::MIN_POSITIVE..=3.402_82e38).contains(factor)).ok_or_else(|| {
        ApiError::BadRequest(
            "Invalid input received: 'rxtx_factor' argument must be a float between 0 and 3.40282e+38".to_owned(),
        )
    })
}

fn taken(error: DbError, flavor: &Flavor) -> ApiError {
    match error {
        DbError::Exists { id, .. } if id == flavor.flavorid => {
            ApiError::Conflict(format!("Flavor with ID {id} already exists."))
        }
        DbError::Exists { id, .. } => ApiError::Conflict(format!("Flavor with name {id} already exists.")),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_texts_and_made_where_missing() {
        assert_eq!(flavorid(&json!("m1")), "m1");
        assert_eq!(flavorid(&json!(7)), "7");
        assert_eq!(flavorid(&json!(1.5)), "1.5");
        for none in [json!(null), json!(0)] {
            assert!(Uuid::parse_str(&flavorid(&none)).is_ok());
        }
    }
}
