//! What every `GET` of a collection takes: filters by any attribute, sorting, paging, fields. Pure: it chooses from the
//! views of what the caller may see.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::attributes::is_known;
use super::error::NetworkError;
use super::routes::Kind;
use crate::web::{encode_query, parse_bool};

/// Parameters that are no filters.
const CONTROLS: [&str; 6] = ["fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"];

/// The values of one parameter.
pub(super) fn values<'a>(pairs: &'a [(String, String)], wanted: &str) -> Vec<&'a str> {
    pairs.iter().filter(|(key, _)| key == wanted).map(|(_, value)| value.as_str()).collect()
}

/// The body of a list: filtered, sorted, cut to a page. `url` is the collection's own.
pub(super) fn respond(
    kind: Kind,
    url: &str,
    pairs: &[(String, String)],
    mut views: Vec<Value>,
) -> Result<Value, NetworkError> {
    views.retain(|view| matches(view, pairs));
    sort(kind, pairs, &mut views)?;
    if let Some(marker) = values(pairs, "marker").first() {
        let position = views.iter().position(|view| view["id"] == *marker).ok_or_else(|| kind.not_found(marker))?;
        views.drain(..=position);
    }
    let limit = limit(pairs)?;
    let has_more = limit.is_some_and(|limit| views.len() > limit);
    views.truncate(limit.unwrap_or(usize::MAX));
    let mut body = Map::new();
    if let Some(last) = views.last().filter(|_| has_more) {
        let others = pairs.iter().filter(|(key, _)| key != "marker");
        let others = others.map(|(key, value)| (key.as_str(), value.as_str()));
        let query = encode_query(others.chain([("marker", last["id"].as_str().unwrap_or_default())]));
        let next = json!([{"rel": "next", "href": format!("{url}?{query}")}]);
        body.insert(format!("{}_links", kind.key(true)), next);
    }
    let fields = values(pairs, "fields");
    let views: Vec<Value> = views.into_iter().map(|view| select(view, &fields)).collect();
    body.insert(kind.key(true).to_owned(), Value::Array(views));
    Ok(Value::Object(body))
}

/// The view with only these attributes; all if there are none.
pub(super) fn select(view: Value, fields: &[&str]) -> Value {
    match view {
        Value::Object(view) if !fields.is_empty() => {
            Value::Object(view.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect())
        }
        view => view,
    }
}

/// Values of one parameter are alternatives; different parameters must all hold. What is no attribute is ignored.
pub(super) fn matches(view: &Value, pairs: &[(String, String)]) -> bool {
    let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !CONTROLS.contains(key));
    keys.into_iter().all(|key| match view.get(key) {
        Some(value) if key == "fixed_ips" => matches_fixed_ips(value, &values(pairs, key)),
        Some(value) => values(pairs, key).iter().any(|wanted| equals(value, wanted)),
        None => true,
    })
}

fn equals(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Null => wanted.is_empty(),
        Value::Bool(value) => parse_bool(wanted) == Some(*value),
        Value::Number(number) => number.to_string() == wanted,
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| equals(item, wanted)),
        Value::Object(_) => false,
    }
}

/// `fixed_ips=ip_address=…`, `fixed_ips=subnet_id=…`, `fixed_ips=ip_address_substr=…`: some address must fit all.
fn matches_fixed_ips(fixed_ips: &Value, wanted: &[&str]) -> bool {
    let wanted: Vec<(&str, &str)> = wanted.iter().filter_map(|wanted| wanted.split_once('=')).collect();
    let of = |key: &str| -> Vec<&str> {
        wanted.iter().filter(|(known, _)| *known == key).map(|(_, value)| *value).collect()
    };
    let (addresses, subnets, parts) = (of("ip_address"), of("subnet_id"), of("ip_address_substr"));
    let fits = |fixed_ip: &Value| {
        let address = fixed_ip["ip_address"].as_str().unwrap_or_default();
        let subnet = fixed_ip["subnet_id"].as_str().unwrap_or_default();
        (addresses.is_empty() || addresses.contains(&address))
            && (subnets.is_empty() || subnets.contains(&subnet))
            && parts.iter().all(|part| address.contains(part))
    };
    fixed_ips.as_array().is_some_and(|fixed_ips| fixed_ips.iter().any(fits))
}

fn limit(pairs: &[(String, String)]) -> Result<Option<usize>, NetworkError> {
    match values(pairs, "limit").first() {
        None => Ok(None),
        Some(text) => match text.parse::<usize>() {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(NetworkError::bad_request("Limit must be an integer 0 or greater and not 'limit'")),
        },
    }
}

fn sort(kind: Kind, pairs: &[(String, String)], views: &mut [Value]) -> Result<(), NetworkError> {
    let (keys, directions) = (values(pairs, "sort_key"), values(pairs, "sort_dir"));
    if keys.len() != directions.len() && !directions.is_empty() {
        return Err(NetworkError::bad_request("The number of sort_keys and sort_dirs must be same"));
    }
    if let Some(unknown) = keys.iter().find(|key| !is_known(kind, key)) {
        return Err(NetworkError::bad_request(format!("'{unknown}' is invalid attribute for sort_keys")));
    }
    if let Some(wrong) = directions.iter().find(|direction| !matches!(**direction, "asc" | "desc")) {
        return Err(NetworkError::bad_request(format!("'{wrong}' is invalid value for sort_dirs")));
    }
    // What comes from the database is sorted by age; the sort is stable, so that pages stay the same.
    views.sort_by(|one, other| {
        keys.iter().enumerate().fold(Ordering::Equal, |ordering, (position, key)| {
            ordering.then_with(|| match directions.get(position) {
                Some(&"desc") => compare(&other[*key], &one[*key]),
                _ => compare(&one[*key], &other[*key]),
            })
        })
    });
    Ok(())
}

fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.as_i64().cmp(&other.as_i64()),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => one.to_string().cmp(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_are_alternatives_and_parameters_add_up() {
        let view = json!({"id": "1", "name": "a", "shared": true, "mtu": 1500, "subnets": ["s", "t"], "x": null});
        for wanted in [
            &[("name", "a"), ("name", "b")][..],
            &[("shared", "True"), ("mtu", "1500")],
            &[("subnets", "t")],
            &[("x", "")],
            &[("unknown", "y")],
            &[("limit", "9")],
        ] {
            assert!(matches(&view, &pairs(wanted)), "{wanted:?}");
        }
        for wanted in [&[("name", "b")][..], &[("name", "a"), ("shared", "0")], &[("subnets", "u")], &[("x", "y")]] {
            assert!(!matches(&view, &pairs(wanted)), "{wanted:?}");
        }
    }

    #[test]
    fn addresses_are_found_by_part_and_subnet() {
        let view = json!({"fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.5"}, {"subnet_id": "t", "ip_address": "::1"}]});
        let found = |wanted: &[&str]| {
            matches(&view, &pairs(&wanted.iter().map(|wanted| ("fixed_ips", *wanted)).collect::<Vec<_>>()))
        };
        assert!(found(&["ip_address=10.0.0.5"]));
        assert!(found(&["ip_address_substr=0.0.5", "subnet_id=s"]));
        assert!(!found(&["ip_address=10.0.0.5", "subnet_id=t"]));
    }

    #[test]
    fn pages_follow_each_other() {
        let views = || -> Vec<Value> { ["c", "a", "b"].iter().map(|id| json!({"id": id, "name": id})).collect() };
        let page =
            |given: &[(&str, &str)]| respond(Kind::Network, "http://h/v2.0/networks", &pairs(given), views()).unwrap();
        let first = page(&[("limit", "2"), ("sort_key", "name"), ("fields", "name")]);
        assert_eq!(first["networks"], json!([{"name": "a"}, {"name": "b"}]));
        let next = "http://h/v2.0/networks?limit=2&sort_key=name&fields=name&marker=b";
        assert_eq!(first["networks_links"], json!([{"rel": "next", "href": next}]));
        let second = page(&[("limit", "2"), ("sort_key", "name"), ("marker", "b"), ("fields", "name")]);
        assert_eq!(second, json!({"networks": [{"name": "c"}]}));
        for wrong in [
            &[("marker", "z")][..],
            &[("limit", "-1")],
            &[("sort_key", "colour")],
            &[("sort_key", "name"), ("sort_dir", "up")],
        ] {
            assert!(respond(Kind::Network, "", &pairs(wrong), views()).is_err(), "{wrong:?}");
        }
    }
}
