//! The formats of Nova's schemas.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use jsonschema::ValidationOptions;

/// What a name must be, for the sentence that refuses one.
pub(crate) const NAME: &str = "printable characters. Can not start or end with whitespace.";
/// The same for a name of the legacy API.
pub(crate) const SPACED_NAME: &str = "printable characters with at least one non space character";
/// The same for an availability zone of the legacy API.
pub(crate) const SPACED_AZ_NAME: &str = "printable characters except : with at least one non space character";
/// The same for an availability zone.
pub(crate) const AZ_NAME: &str = "printable characters except :.Can not start or end with whitespace.";

/// Adds the formats.
pub(super) fn register(options: ValidationOptions<'static>) -> ValidationOptions<'static> {
    options
        .with_format("name", is_name)
        .with_format("name_with_leading_trailing_spaces", is_spaced_name)
        .with_format("az_name", |text: &str| is_name(text) && !text.contains(':'))
        .with_format("az_name_with_leading_trailing_spaces", |text: &str| is_spaced_name(text) && !text.contains(':'))
        .with_format("description", |text: &str| text.chars().all(is_printable))
        .with_format("uuid", is_uuid_like)
        .with_format("base64", |text: &str| decode_base64(text).is_some())
        .with_format("regex", is_regex)
        .with_format("date-time", |text: &str| parse_isotime(text).is_some())
        .with_format("ipv4", |text: &str| text.parse::<Ipv4Addr>().is_ok())
        .with_format("ipv6", |text: &str| text.parse::<Ipv6Addr>().is_ok())
}

/// Printable, and no space at either end. The empty string is left to `minLength`.
fn is_name(text: &str) -> bool {
    let solid = |c: Option<char>| c.is_none_or(|c| !c.is_whitespace());
    text.chars().all(is_printable) && solid(text.chars().next()) && solid(text.chars().next_back())
}

fn is_spaced_name(text: &str) -> bool {
    text.chars().all(is_printable) && (text.is_empty() || text.chars().any(|c| !c.is_whitespace()))
}

/// Neither a control character nor a line or paragraph separator.
fn is_printable(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}');
    !c.is_control() && !format
}

/// As oslo.utils: 32 hex digits, with or without hyphens and braces.
pub(crate) fn is_uuid_like(text: &str) -> bool {
    let bare: String = text.replace("urn:", "").replace("uuid:", "").replace(['{', '}', '-'], "");
    bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As Python's: line breaks and other foreign characters are skipped, but the padding must be right.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
            .with_decode_allow_trailing_bits(true),
    );
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let bytes: Vec<u8> = text.bytes().filter(known).collect();
    engine.decode(bytes).ok()
}

fn is_regex(text: &str) -> bool {
    !text.is_empty() && regex::Regex::new(text).is_ok()
}

/// As oslo.utils' `parse_isotime`: ISO 8601, with or without a time, a fraction and a zone; no zone is UTC.
pub(crate) fn parse_isotime(text: &str) -> Option<DateTime<Utc>> {
    // A `+` that was not escaped in the query arrives as a space.
    let text = text.trim();
    if let Ok(zoned) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", usize::from(text.contains(':')))) {
        return Some(zoned.with_timezone(&Utc));
    }
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%#z"];
    if let Some(time) = zoned.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()) {
        return Some(time.with_timezone(&Utc));
    }
    let naive = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%dT%H:%MZ",
        "%Y%m%dT%H%M%S",
        "%Y%m%dT%H%M%SZ",
    ];
    if let Some(time) = naive.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()) {
        return Some(time.and_utc());
    }
    let date = ["%Y-%m-%d", "%Y%m%d"].iter().find_map(|format| NaiveDate::parse_from_str(text, format).ok())?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_do_not_begin_or_end_with_space() {
        for good in ["a", "a b", "", "ünïcode ☃", "a:b"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [" a", "a ", "a\u{0}", "a\nb", "\u{2028}"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_spaced_name(" a ") && !is_spaced_name("  "));
    }

    #[test]
    fn uuids_come_with_and_without_hyphens() {
        assert!(is_uuid_like("5f1b6dd97a2f4d559f0af8a0bf4ae0b2"));
        assert!(is_uuid_like("5F1B6DD9-7A2F-4D55-9F0A-F8A0BF4AE0B2"));
        assert!(!is_uuid_like("5f1b6dd9") && !is_uuid_like("zf1b6dd97a2f4d559f0af8a0bf4ae0b2"));
    }

    #[test]
    fn base64_may_be_wrapped_but_not_cut() {
        assert_eq!(decode_base64("aGVs\nbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(decode_base64("aGVsbG8"), None);
    }

    #[test]
    fn times_come_in_several_forms() {
        let expected = "2026-11-23T06:40:00Z".parse::<DateTime<Utc>>().unwrap();
        for text in [
            "2026-11-23T06:40:00Z",
            "2026-11-23T06:40:00",
            "2026-11-23T07:40:00+01:00",
            "2026-11-23 06:40:00",
            "2026-11-23T06:40",
            "2026-11-23T06:40:00.000000",
        ] {
            assert_eq!(parse_isotime(text), Some(expected), "{text}");
        }
        assert_eq!(parse_isotime("2026-11-23").map(|at| at.to_rfc3339()), Some("2026-11-23T00:00:00+00:00".into()));
        assert_eq!(parse_isotime("yesterday"), None);
    }
}
