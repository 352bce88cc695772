//! Values of bodies and query strings that come in more than one form.

use std::net::Ipv6Addr;

use serde_json::Value;
use uuid::Uuid;

/// An integer, or a text that is one.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A boolean, or a text that is one.
pub(crate) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => bool_from_string(text),
        _ => None,
    }
}

/// As oslo.utils' strict `bool_from_string`.
pub(crate) fn bool_from_string(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// An IPv6 address in its shortest form, as Nova keeps it; what is none stays as it is.
pub(crate) fn canonical_ipv6(text: &str) -> String {
    text.parse::<Ipv6Addr>().map_or_else(|_| text.to_owned(), |address| address.to_string())
}

/// A uuid, with or without hyphens.
pub(crate) fn uuid_like(text: &str) -> Option<Uuid> {
    let bare = text.replace("urn:", "").replace("uuid:", "").replace(['{', '}', '-'], "");
    if bare.len() == 32 { Uuid::parse_str(&bare).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ipv6_addresses_are_shortened() {
        for (given, kept) in [
            ("0000:0000:0000:0000:0000:babe:220.12.22.2", "::babe:dc0c:1602"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(canonical_ipv6(given), kept);
        }
    }

    #[test]
    fn numbers_and_booleans_may_be_texts() {
        assert_eq!(integer(&json!(5)), Some(5));
        assert_eq!(integer(&json!("5")), Some(5));
        assert_eq!(integer(&json!("-1")), Some(-1));
        assert_eq!(integer(&json!("five")), None);
        assert_eq!(boolean(&json!(false)), Some(false));
        assert_eq!(boolean(&json!("YES")), Some(true));
        assert_eq!(boolean(&json!("Off")), Some(false));
        assert_eq!(boolean(&json!("maybe")), None);
    }

    #[test]
    fn uuids_need_no_hyphens_but_32_digits() {
        let id = Uuid::new_v4();
        assert_eq!(uuid_like(&id.to_string()), Some(id));
        assert_eq!(uuid_like(&id.simple().to_string()), Some(id));
        assert_eq!(uuid_like("1"), None);
    }
}
