//! Licences that what Kilonova is linked with may have. deny.toml has the same list, for who uses cargo-deny.

use cargo_metadata::Metadata;

use super::spdx;

/// None of them asks more of who ships a binary than to name the authors; MPL-2.0 also to pass on changes to its files.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// A sentence for each package without an allowed licence, or from elsewhere than crates.io and this repository.
pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        match package.license.as_deref().map(|licence| spdx::is_allowed(licence, &ALLOWED)) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => found.push(format!("{name}: {} is no allowed licence", shown(package))),
            Some(Err(error)) => found.push(format!("{name}: {} cannot be read: {error:#}", shown(package))),
            None => found.push(format!("{name} names no licence")),
        }
        if package.source.as_ref().is_some_and(|source| !source.is_crates_io()) {
            found.push(format!("{name} does not come from crates.io"));
        }
    }
    found
}

fn shown(package: &cargo_metadata::Package) -> &str {
    package.license.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_toml_allows_the_same() {
        let deny = include_str!("../../../deny.toml");
        let (_, licences) = deny.split_once("[licenses]").unwrap();
        let (_, list) = licences.split_once("allow = [").unwrap();
        let (list, _) = list.split_once(']').unwrap();
        let allowed: Vec<_> =
            list.split(',').map(|it| it.trim().trim_matches('"')).filter(|it| !it.is_empty()).collect();
        assert_eq!(allowed, ALLOWED);
    }

    #[test]
    fn deny_toml_bans_the_same() {
        let deny = include_str!("../../../deny.toml");
        let (_, bans) = deny.split_once("[bans]").unwrap();
        let missing: Vec<_> =
            super::super::BANNED.into_iter().filter(|name| !bans.contains(&format!("crate = \"{name}\""))).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
