//! `self`, `bookmark` and `next` links.

use axum::http::{Uri, request::Parts};
use serde::Serialize;

use crate::call::Query;
use crate::config::ApiConfig;

/// Makes the links of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// `http://host/compute/v2.1[/project]`
    versioned: String,
    /// `http://host/compute[/project]`
    bookmark: String,
}

/// A link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Link {
    pub rel: &'static str,
    pub href: String,
}

impl Links {
    pub(crate) fn new(base: &str, legacy: bool, project_id: Option<&str>) -> Self {
        let project = project_id.map(|id| format!("/{id}")).unwrap_or_default();
        let version = if legacy { "v2" } else { "v2.1" };
        Self { versioned: format!("{base}/{version}{project}"), bookmark: format!("{base}{project}") }
    }

    /// The `links` of a resource.
    pub(crate) fn of(&self, collection: &str, id: &str) -> [Link; 2] {
        [Link { rel: "self", href: self.href(collection, id) }, self.bookmark(collection, id)]
    }

    /// The versioned address of a resource.
    pub(crate) fn href(&self, collection: &str, id: &str) -> String {
        join(&self.versioned, collection, id)
    }

    /// The address of a resource without a version.
    pub(crate) fn bookmark(&self, collection: &str, id: &str) -> Link {
        Link { rel: "bookmark", href: join(&self.bookmark, collection, id) }
    }

    /// The link to what comes after `last`, where the list is as long as it may be.
    pub(crate) fn next(
        &self,
        collection: &str,
        query: &Query,
        max_limit: u64,
        shown: usize,
        last: Option<&str>,
    ) -> Option<Link> {
        let asked = query.get("limit").and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(max_limit);
        let limit = asked.min(max_limit);
        if limit == 0 || limit != shown as u64 {
            return None;
        }
        let mut params: Vec<(&str, &str)> = query
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| *name != "marker")
            .collect();
        params.push(("marker", last?));
        params.sort();
        let pairs: Vec<String> =
            params.iter().map(|(name, value)| format!("{}={}", quote(name), quote(value))).collect();
        Some(Link { rel: "next", href: format!("{}/{collection}?{}", self.versioned, pairs.join("&")) })
    }
}

fn join(base: &str, collection: &str, id: &str) -> String {
    let mut href = String::with_capacity(base.len() + collection.len() + id.len() + 2);
    for part in [base, "/", collection, "/", id] {
        href.push_str(part);
    }
    href
}

/// As Python's `quote_plus`.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Where the API is as the caller sees it, without a version: `http://host/compute`.
pub(crate) fn base_url(original: &Uri, parts: &Parts, config: &ApiConfig) -> String {
    let (whole, inner) = (original.path(), parts.uri.path());
    // The mounted path without a slash, `/compute`, is `/` inside.
    let mount = whole.strip_suffix(inner).or_else(|| (inner == "/").then_some(whole));
    let mount = mount.unwrap_or_default().trim_end_matches('/');
    match &config.compute_link_prefix {
        Some(prefix) => format!("{}{mount}", prefix.trim_end_matches('/')),
        None => {
            let scheme = original.scheme_str().unwrap_or("http");
            format!("{scheme}://{}{mount}", crate::dispatch::host(parts))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_keeps_the_filters_and_moves_the_marker() {
        let links = Links::new("http://h/compute", false, Some("p"));
        let query =
            Query(vec![("limit".into(), "2".into()), ("name".into(), "a b".into()), ("marker".into(), "old".into())]);
        let next = links.next("servers/detail", &query, 1000, 2, Some("new")).unwrap();
        assert_eq!(next.href, "http://h/compute/v2.1/p/servers/detail?limit=2&marker=new&name=a+b");
        assert!(links.next("servers", &query, 1000, 1, Some("new")).is_none());
        assert!(links.next("servers", &Query::default(), 3, 3, Some("new")).is_some());
    }
}
