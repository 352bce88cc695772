//! From where a browser may open a console, by Nova's rule: only from the page of the proxy itself, and from the hosts of
//! `[console] allowed_origins`. Who sends no `Origin` is no browser.

use axum::http::{HeaderMap, Uri, header};
use kilonova_core::Config;

/// The hosts besides the proxy's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origins {
    allowed: Vec<String>,
}

impl Origins {
    pub(super) fn from_config(config: &Config) -> Self {
        let allowed = config.get("console", "allowed_origins").unwrap_or_default();
        let hosts = allowed.split(',').map(str::trim).filter(|host| !host.is_empty());
        Self { allowed: hosts.map(str::to_owned).collect() }
    }

    /// Whether a page of that origin may open a console whose users are sent to `access_url_base`.
    pub(super) fn check(&self, headers: &HeaderMap, access_url_base: Option<&str>) -> Result<(), String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = text(header::ORIGIN.as_str()) else { return Ok(()) };
        let parsed: Option<Uri> = origin.parse().ok();
        let host = parsed.as_ref().and_then(Uri::host);
        let scheme = text("x-forwarded-proto").or_else(|| parsed.as_ref()?.scheme_str());
        let (Some(host), Some(scheme)) = (host, scheme) else {
            return Err(format!("Origin header not valid: {origin:?}"));
        };
        let own: Option<Uri> = text(header::HOST.as_str()).and_then(|host| host.parse().ok());
        let is_own = own.as_ref().and_then(Uri::host) == Some(host);
        if !is_own && !self.allowed.iter().any(|allowed| allowed == host) {
            return Err(format!("Origin header does not match this host: {origin:?}"));
        }
        let Some((expected, _)) = access_url_base.and_then(|url| url.split_once("://")) else { return Ok(()) };
        // A serial console is a ws address, which a page of the matching http opens.
        let is_expected = matches!((expected, scheme), ("ws", "http") | ("wss", "https")) || expected == scheme;
        if is_expected { Ok(()) } else { Err(format!("Origin header protocol does not match this host: {origin:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://cloud:6080/vnc_auto.html";

    fn check(allowed: &str, headers: &[(&'static str, &str)], base: &str) -> Result<(), String> {
        let config = Config::from_text(&format!("[console]\nallowed_origins = {allowed}\n")).unwrap();
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Origins::from_config(&config).check(&headers, Some(base))
    }

    #[test]
    fn a_page_of_the_proxy_and_of_its_friends_may() {
        let own = ("host", "cloud:6080");
        assert!(check("", &[own], BASE).is_ok());
        assert!(check("", &[own, ("origin", "http://cloud:6080")], BASE).is_ok());
        assert!(check("a, friend", &[own, ("origin", "http://friend")], BASE).is_ok());
        assert!(check("", &[own, ("origin", "http://cloud")], "ws://cloud:6083/").is_ok());
        assert!(
            check("", &[own, ("origin", "http://cloud"), ("x-forwarded-proto", "https")], "https://cloud/").is_ok()
        );
    }

    #[test]
    fn others_may_not_and_are_told_apart() {
        let own = ("host", "cloud:6080");
        for (origin, base, reason) in [
            ("http://evil", BASE, "does not match this host"),
            ("http://cloud.evil", BASE, "does not match this host"),
            ("https://cloud:6080", BASE, "protocol does not match"),
            ("http://cloud", "wss://cloud/", "protocol does not match"),
            ("null", BASE, "not valid"),
            ("", BASE, "not valid"),
        ] {
            let refused = check("friend", &[own, ("origin", origin)], base).unwrap_err();
            assert!(refused.contains(reason), "{origin}: {refused}");
        }
    }
}
