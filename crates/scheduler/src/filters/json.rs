//! JsonFilter: the hint `query`, a condition on the host that the user writes.
//!
//! ```text
//! query    = [operator, argument, …]
//! operator = "=" "<" ">" "in" "<=" ">="       the first argument compared with each of the others
//!          | "not" "or" "and"
//! argument = query | "$ATTRIBUTE" | "$ATTRIBUTE.KEY" | a text, number or boolean
//! ```
//!
//! An attribute that the host does not have is left out of the arguments. What is no query fits no host.

use std::cmp::Ordering;

use serde_json::Value;

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct JsonFilter;

impl HostFilter for JsonFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let Some(query) = asked.spec.hint("query").first() else {
            return true;
        };
        let query = serde_json::from_str(query).ok();
        query.and_then(|query| process(&query, host)).is_some_and(|result| match result {
            Value::Array(results) => results.iter().any(is_true),
            result => is_true(&result),
        })
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

/// `None`: not a query.
fn process(query: &Value, host: &HostState) -> Option<Value> {
    let Some((operator, arguments)) = query.as_array()?.split_first() else {
        return Some(Value::Bool(true));
    };
    let mut cooked = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let value = match argument {
            Value::Array(_) => process(argument, host)?,
            Value::String(text) => look_up(text, host),
            other => other.clone(),
        };
        if !value.is_null() {
            cooked.push(value);
        }
    }
    apply(operator.as_str()?, &cooked)
}

fn apply(operator: &str, arguments: &[Value]) -> Option<Value> {
    let holds = |wanted: fn(Ordering) -> bool| {
        let (first, others) = arguments.split_first().filter(|(_, others)| !others.is_empty())?;
        Some(others.iter().all(|other| compare(first, other).is_some_and(wanted)))
    };
    let holds = match operator {
        "=" => holds(Ordering::is_eq),
        "<" => holds(Ordering::is_lt),
        ">" => holds(Ordering::is_gt),
        "<=" => holds(Ordering::is_le),
        ">=" => holds(Ordering::is_ge),
        "in" => arguments.split_first().map(|(first, others)| others.iter().any(|other| is_equal(first, other))),
        "or" => Some(arguments.iter().any(is_true)),
        "and" => Some(arguments.iter().all(is_true)),
        "not" => return Some(arguments.iter().map(|argument| Value::Bool(!is_true(argument))).collect()),
        _ => return None,
    };
    // One argument alone compares to nothing.
    Some(Value::Bool(holds.unwrap_or(false)))
}

/// A text, or what it stands for if it begins with `$`.
fn look_up(text: &str, host: &HostState) -> Value {
    let Some(path) = text.strip_prefix('$') else {
        return if text.is_empty() { Value::Null } else { text.into() };
    };
    let mut names = path.split('.');
    let mut value = names.next().and_then(|name| host.own_attribute(name)).unwrap_or(Value::Null);
    for name in names {
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).unwrap_or(Value::Null);
        }
        value = value.get_mut(name).map_or(Value::Null, Value::take);
    }
    value
}

fn is_equal(a: &Value, b: &Value) -> bool {
    compare(a, b).is_some_and(Ordering::is_eq)
}

/// `None` where two values have no order.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

/// As Python sees it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_with, with_hint};

    fn passes(query: &str) -> bool {
        let mut host = host_with("a", |input| {
            input.node.vcpus = 8;
            input.node.hypervisor_type = "QEMU".to_owned();
            input.node.cpu_info = Some(r#"{"vendor": "AMD", "topology": {"cores": 4}}"#.to_owned());
            input.node.stats = Some(BTreeMap::from([("rack".to_owned(), Some("r1".to_owned()))]));
        });
        host.capacity_for_test(&[("MEMORY_MB", 2048), ("DISK_GB", 20)]);
        JsonFilter.passes(&host, &asked(&with_hint("query", query)))
    }

    #[test]
    fn conditions_hold_or_not() {
        for (query, passed) in [
            (r#"[">=", "$free_ram_mb", 1024]"#, true),
            (r#"[">=", "$free_ram_mb", 4096]"#, false),
            (r#"["=", "$host", "a"]"#, true),
            (r#"["=", "$host", "a", "b"]"#, false),
            (r#"["<", 1, 2, 3]"#, true),
            (r#"["<", 1, 2, 1]"#, false),
            (r#"[">", 3, 2]"#, true),
            (r#"["<=", "$vcpus_total", 8]"#, true),
            (r#"["in", "$hypervisor_type", "xen", "QEMU"]"#, true),
            (r#"["in", "$hypervisor_type", "xen"]"#, false),
            (r#"["and", [">=", "$free_ram_mb", 1024], [">=", "$free_disk_mb", 20480]]"#, true),
            (r#"["and", [">=", "$free_ram_mb", 1024], [">", "$free_disk_mb", 20480]]"#, false),
            (r#"["or", ["=", "$host", "b"], [">=", "$free_disk_mb", 1]]"#, true),
            (r#"["not", ["=", "$host", "b"]]"#, true),
            (r#"["not", ["=", "$host", "a"]]"#, false),
            // One of several is enough.
            (r#"["not", ["=", "$host", "a"], ["=", "$host", "b"]]"#, true),
            (r#"["=", "$cpu_info.vendor", "AMD"]"#, true),
            (r#"["=", "$cpu_info.topology.cores", 4]"#, true),
            (r#"["=", "$stats.rack", "r1"]"#, true),
            ("[]", true),
        ] {
            assert_eq!(passes(query), passed, "{query}");
        }
    }

    #[test]
    fn what_the_host_does_not_have_is_left_out() {
        for (query, passed) in [
            (r#"["=", "$pony", "a"]"#, false),
            (r#"["=", "$rack", "r1"]"#, false),
            (r#"["=", "$cpu_info.pony", "a"]"#, false),
            (r#"["=", "$host", "", "a"]"#, true),
            (r#"["=", "$host"]"#, false),
            (r#"["and", "$pony"]"#, true),
            (r#"["or", "$pony"]"#, false),
        ] {
            assert_eq!(passes(query), passed, "{query}");
        }
    }

    #[test]
    fn what_is_no_query_fits_no_host() {
        for query in ["pony", "{}", "7", r#"["pony", 1, 2]"#, r#"[1, 2]"#, r#"["and", ["pony"]]"#, r#"[">", 1, "a"]"#] {
            assert!(!passes(query), "{query}");
        }
    }

    #[test]
    fn without_the_hint_every_host_passes() {
        assert!(JsonFilter.passes(&host_with("a", |_| ()), &asked(&RequestSpec::default())));
    }
}
