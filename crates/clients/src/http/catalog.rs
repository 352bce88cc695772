//! Where a service is, by Keystone's catalog.

use reqwest::Url;
use serde_json::Value;

use super::options::Access;

/// The endpoint that `access` means: the first type, then the first interface, that has one in the region.
pub(super) fn endpoint(catalog: &[Value], access: &Access) -> Option<Url> {
    access.service_types.iter().find_map(|wanted| {
        let services = || {
            let is_wanted = |service: &&Value| {
                service["type"].as_str() == Some(wanted)
                    && access.service_name.as_deref().is_none_or(|name| service["name"].as_str() == Some(name))
            };
            catalog.iter().filter(is_wanted).filter_map(|service| service["endpoints"].as_array()).flatten()
        };
        access.interfaces.iter().find_map(|interface| {
            let found = services().find(|endpoint| is_at(endpoint, interface) && is_in(endpoint, access));
            Url::parse(found?["url"].as_str()?).ok()
        })
    })
}

/// `internalURL` is the older name of `internal`.
fn is_at(endpoint: &Value, interface: &str) -> bool {
    endpoint["interface"].as_str() == Some(interface.trim_end_matches("URL"))
}

fn is_in(endpoint: &Value, access: &Access) -> bool {
    let Some(region) = access.region.as_deref() else { return true };
    [&endpoint["region_id"], &endpoint["region"]].iter().any(|known| known.as_str() == Some(region))
}

/// What was looked for, for who has to find out why it is not there.
pub(super) fn description(access: &Access) -> String {
    let Access { service_types, service_name, interfaces, region, .. } = access;
    let name = service_name.as_ref().map(|name| format!(", name {name}")).unwrap_or_default();
    let region = region.as_ref().map(|region| format!(", region {region}")).unwrap_or_default();
    format!("type {}, interface {}{name}{region}", service_types.join(" or "), interfaces.join(" or "))
}

#[cfg(test)]
mod tests {
    use kilonova_core::Config;
    use serde_json::json;

    use super::*;

    fn access(text: &str) -> Access {
        let config = Config::from_text(&format!("[placement]\n{text}")).unwrap();
        Access::from_config(&config, "placement", "placement", None).unwrap()
    }

    fn catalog() -> Vec<Value> {
        let endpoint = |interface: &str, region: &str| json!({"interface": interface, "region": region, "region_id": region, "url": format!("http://{interface}.{region}/placement")});
        let endpoints = [
            endpoint("public", "one"),
            endpoint("internal", "one"),
            endpoint("public", "two"),
            json!({"interface": "admin", "region": "two", "url": "not a url"}),
        ];
        vec![
            json!({"type": "compute", "name": "nova", "endpoints": []}),
            json!({"type": "placement", "name": "p", "endpoints": endpoints}),
        ]
    }

    #[test]
    fn the_best_interface_in_the_region_is_taken() {
        let of = |text: &str| endpoint(&catalog(), &access(text)).map(|url| url.to_string());
        assert_eq!(of("").as_deref(), Some("http://internal.one/placement"));
        assert_eq!(of("region_name = two").as_deref(), Some("http://public.two/placement"));
        assert_eq!(of("valid_interfaces = publicURL").as_deref(), Some("http://public.one/placement"));
        for none in ["region_name = three", "valid_interfaces = admin", "service_type = volumev3", "service_name = q"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn the_description_says_all_that_was_asked() {
        assert_eq!(
            description(&access("region_name = R\nservice_name = n")),
            "type placement, interface internal or public, name n, region R"
        );
    }
}
