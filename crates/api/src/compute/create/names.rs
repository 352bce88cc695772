//! Names of servers: the display name and host name of each, and the id of the request that made them.

use uuid::Uuid;

use super::password::pick;
use crate::compute::ComputeError;

/// Longest label that Linux, Windows and dnsmasq all take.
const MAX_HOSTNAME: usize = 63;

/// `r-` and eight letters or digits.
pub(super) fn reservation_id() -> Result<String, ComputeError> {
    let mut id = "r-".to_owned();
    for _ in 0..8 {
        id.push(char::from(pick(b"abcdefghijklmnopqrstuvwxyz0123456789")?));
    }
    Ok(id)
}

/// Display name and host name of the server at `index` of `count`.
pub(super) fn of(name: &str, hostname: Option<&str>, uuid: Uuid, index: u32, count: u32) -> (String, String) {
    let suffix = if count > 1 { format!("-{}", index + 1) } else { String::new() };
    let hostname = hostname.map(str::to_owned).unwrap_or_else(|| match sanitize_hostname(name).as_str() {
        "" => format!("Server-{uuid}"),
        sane => format!("{sane}{suffix}"),
    });
    (format!("{name}{suffix}"), hostname)
}

/// Lower case letters, digits, hyphens and underscores' relatives, as Nova makes one of a display name.
fn sanitize_hostname(name: &str) -> String {
    let latin = name.chars().filter(|c| (*c as u32) < 0x100).take(MAX_HOSTNAME);
    let dashed = latin.map(|c| if matches!(c, ' ' | '_' | '.') { '-' } else { c });
    let kept: String = dashed.filter(|c| c.is_alphanumeric() || matches!(c, '-' | '.')).collect();
    kept.to_lowercase().trim_matches(|c| matches!(c, '.' | '-')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_made_of_the_display_name() {
        let long = "a".repeat(80);
        for (name, expected) in [
            ("Web Server_1.example", "web-server-1-example"),
            ("-.x.-", "x"),
            ("naïve ☃", "naïve"),
            ("☃", ""),
            (long.as_str(), &long[..63]),
        ] {
            assert_eq!(sanitize_hostname(name), expected);
        }
    }

    #[test]
    fn several_servers_are_numbered_from_one_and_a_given_host_name_is_kept() {
        let uuid = Uuid::nil();
        assert_eq!(of("a b", None, uuid, 0, 1), ("a b".into(), "a-b".into()));
        assert_eq!(of("a b", None, uuid, 1, 2), ("a b-2".into(), "a-b-2".into()));
        assert_eq!(of("a", Some("h.example"), uuid, 0, 1), ("a".into(), "h.example".into()));
        assert_eq!(of("☃", None, uuid, 1, 2), ("☃-2".into(), format!("Server-{uuid}")));
    }

    #[test]
    fn reservation_ids_have_their_form() {
        let id = reservation_id().unwrap();
        assert!(id.len() == 10 && id.starts_with("r-") && id[2..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
