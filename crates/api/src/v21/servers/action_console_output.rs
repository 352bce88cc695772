//! The action `os-getConsoleOutput`

use serde_json::{Value, json};

use super::authorized;
use crate::call::{Answer, Call, ok};
use crate::compute::console;

/// `os-getConsoleOutput`
pub(crate) async fn get_console_output(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let length = length(&call.body["os-getConsoleOutput"]["length"]);
    let output = console::output(&call.state, &call.context, instance, length).await?;
    ok(&json!({"output": output}))
}

/// A number that may come as a string.
fn length(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
