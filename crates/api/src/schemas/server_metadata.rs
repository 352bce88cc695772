//! Schemas of server metadata.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

pub(crate) fn create() -> Value {
    object(json!({"metadata": types::metadata()}), &["metadata"])
}

pub(crate) fn update() -> Value {
    let mut item = types::metadata();
    item["minProperties"] = json!(1);
    item["maxProperties"] = json!(1);
    object(json!({"meta": item}), &["meta"])
}
