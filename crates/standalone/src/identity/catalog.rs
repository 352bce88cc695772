//! The service catalog: the five services of this process, at DevStack's paths.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

struct Service {
    kind: &'static str,
    name: &'static str,
    description: &'static str,
    path: &'static str,
}

/// Clients of image append `/v2` themselves, those of network `/v2.0`, those of identity `/v3`.
const SERVICES: [Service; 5] = [
    Service { kind: "compute", name: "nova", description: "Compute", path: "/compute/v2.1" },
    Service { kind: "identity", name: "keystone", description: "Identity", path: "/identity" },
    Service { kind: "image", name: "glance", description: "Image", path: "/image" },
    Service { kind: "network", name: "neutron", description: "Network", path: "/network" },
    Service { kind: "placement", name: "placement", description: "Placement", path: "/placement" },
];

const INTERFACES: [&str; 3] = ["admin", "internal", "public"];

pub(crate) struct Catalog {
    region: String,
    /// Of each of `SERVICES`.
    urls: [String; SERVICES.len()],
    entries: Arc<Vec<Value>>,
}

impl Catalog {
    /// Compute is at `compute_url` where that is given: it may be another process than the one that serves this.
    pub(crate) fn new(public_url: &str, compute_url: Option<&str>, region: &str) -> Self {
        let url = |service: &Service| match compute_url {
            Some(url) if service.kind == "compute" => url.trim_end_matches('/').to_owned(),
            _ => format!("{public_url}{}", service.path),
        };
        let urls = SERVICES.each_ref().map(url);
        let entries = SERVICES.iter().zip(&urls).map(|(service, url)| entry(service, url, region)).collect();
        Self { region: region.to_owned(), urls, entries: Arc::new(entries) }
    }

    /// As a token carries it.
    pub(crate) fn entries(&self) -> Arc<Vec<Value>> {
        self.entries.clone()
    }

    /// As `GET /v3/services` lists it, without links.
    pub(crate) fn services(&self) -> Vec<Value> {
        let service = |service: &Service| {
            json!({
                "id": service_id(service), "type": service.kind, "name": service.name,
                "description": service.description, "enabled": true,
            })
        };
        SERVICES.iter().map(service).collect()
    }

    /// As `GET /v3/endpoints` lists it, without links.
    pub(crate) fn endpoints(&self) -> Vec<Value> {
        let mut endpoints = Vec::new();
        for (service, url) in SERVICES.iter().zip(&self.urls) {
            for interface in INTERFACES {
                let mut endpoint = endpoint(service, interface, url, &self.region);
                endpoint["service_id"] = json!(service_id(service));
                endpoint["enabled"] = json!(true);
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    /// As `GET /v3/regions` lists it, without links.
    pub(crate) fn regions(&self) -> Vec<Value> {
        vec![json!({"id": self.region, "description": "", "parent_region_id": null})]
    }
}

fn entry(service: &Service, url: &str, region: &str) -> Value {
    let endpoints: Vec<Value> = INTERFACES.iter().map(|interface| endpoint(service, interface, url, region)).collect();
    json!({"id": service_id(service), "type": service.kind, "name": service.name, "endpoints": endpoints})
}

fn endpoint(service: &Service, interface: &str, url: &str, region: &str) -> Value {
    json!({
        "id": stable_id(&format!("{}/{interface}/{region}", service.kind)),
        "interface": interface, "region": region, "region_id": region,
        "url": url,
    })
}

fn service_id(service: &Service) -> String {
    stable_id(service.kind)
}

/// The same id in every run: nothing of the catalog is stored.
fn stable_id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("kilonova:catalog/{name}").as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_three_endpoints_at_devstacks_paths() {
        let catalog = Catalog::new("http://cloud:8774", None, "RegionOne");
        let entries = catalog.entries();
        let mut urls = Vec::new();
        for service in entries.iter() {
            let endpoints = service["endpoints"].as_array().unwrap();
            let interfaces: Vec<&str> = endpoints.iter().map(|one| one["interface"].as_str().unwrap()).collect();
            assert_eq!(interfaces, INTERFACES);
            urls.push((service["type"].as_str().unwrap(), endpoints[2]["url"].as_str().unwrap()));
        }
        assert_eq!(
            urls,
            [
                ("compute", "http://cloud:8774/compute/v2.1"),
                ("identity", "http://cloud:8774/identity"),
                ("image", "http://cloud:8774/image"),
                ("network", "http://cloud:8774/network"),
                ("placement", "http://cloud:8774/placement"),
            ]
        );
    }

    #[test]
    fn compute_may_be_elsewhere() {
        let catalog = Catalog::new("http://control:5000", Some("http://api:8774/v2.1/"), "R");
        let urls: Vec<_> = catalog.endpoints().iter().map(|one| one["url"].as_str().unwrap().to_owned()).collect();
        assert_eq!(urls[..3], ["http://api:8774/v2.1"; 3]);
        assert_eq!(urls[3], "http://control:5000/identity");
    }

    #[test]
    fn ids_are_distinct_and_the_same_in_every_run() {
        let ids = |catalog: Catalog| -> Vec<String> {
            catalog.endpoints().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        let (one, other) = (ids(Catalog::new("http://a", None, "R")), ids(Catalog::new("http://b", None, "R")));
        assert_eq!(one, other);
        assert_eq!(one.iter().collect::<std::collections::HashSet<_>>().len(), 15);
    }
}
