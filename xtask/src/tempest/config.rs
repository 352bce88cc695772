//! Tempest's configuration: the template `tempest.conf` with this cloud's values.

use std::path::Path;

use anyhow::Context as _;

use super::prepare::{PUBLIC_NETWORK_NAME, Prepared};
use crate::api::Account;

const TEMPLATE: &str = include_str!("tempest.conf");

/// The configuration of a run with its files in `dir`.
pub(super) fn render(dir: &Path, account: &Account, prepared: &Prepared) -> anyhow::Result<String> {
    let dir = dir.to_str().context("tempest's configuration cannot name this directory")?;
    let extensions = prepared.network_extensions.join(",");
    Ok(fill(&[
        ("DIR", dir),
        ("AUTH_URL", &account.auth_url),
        ("ADMIN_USERNAME", &account.username),
        ("ADMIN_PASSWORD", &account.password),
        ("ADMIN_PROJECT", &account.project_name),
        ("IMAGE", &prepared.image),
        ("IMAGE_ALT", &prepared.image_alt),
        ("FLAVOR", &prepared.flavor),
        ("FLAVOR_ALT", &prepared.flavor_alt),
        ("PUBLIC_NETWORK", &prepared.public_network),
        ("NETWORK_EXTENSIONS", &extensions),
    ]))
}

/// The same where tests know a network by name. With it, tests whose project has no network of its own would have their
/// servers there, and they cannot: it is an external one.
pub(super) fn with_fixed_network(conf: &str) -> String {
    conf.replace("[compute]\n", &format!("[compute]\nfixed_network_name = {PUBLIC_NETWORK_NAME}\n"))
}

/// The template with a value in place of each `@NAME@`.
fn fill(values: &[(&str, &str)]) -> String {
    values.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_template_has_a_value() {
        let account = Account {
            auth_url: "http://127.0.0.1:1/identity/v3".to_owned(),
            username: "admin".to_owned(),
            password: "secret".to_owned(),
            project_name: "admin".to_owned(),
        };
        let id = |id: &str| id.to_owned();
        let prepared = Prepared {
            image: id("i1"),
            image_alt: id("i2"),
            flavor: id("f1"),
            flavor_alt: id("f2"),
            public_network: id("n1"),
            network_extensions: vec![id("router"), id("binding")],
        };
        let conf = render(Path::new("/run/here"), &account, &prepared).unwrap();
        assert!(!conf.contains('@'), "{conf}");
        let fixed = with_fixed_network(&conf);
        assert_eq!(fixed.lines().filter(|line| *line == "fixed_network_name = public").count(), 1, "{fixed}");
        for line in ["log_dir = /run/here", "image_ref_alt = i2", "api_extensions = router,binding"] {
            assert!(conf.lines().any(|known| known == line), "{line}");
        }
    }
}
