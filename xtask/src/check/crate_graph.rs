//! Who may depend on whom. docs/architecture.md explains the borders; this table is where they are kept.

use std::collections::BTreeSet;

use cargo_metadata::{Metadata, Package};

/// Each crate of the workspace, without its `kilonova-`, and the crates of the workspace that it may depend on, in
/// whatever kind of dependency. scheduler, conductor, compute and api never see each other: they meet in rpcapi.
const MAY_DEPEND_ON: [(&str, &[&str]); 15] = [
    ("core", &[]),
    ("objects", &["core"]),
    ("messaging", &["core"]),
    ("rpcapi", &["core", "objects", "messaging"]),
    ("db", &["core", "objects"]),
    ("clients", &["core", "objects"]),
    ("placement", &["core", "clients", "db"]),
    ("virt", &["core", "objects"]),
    ("scheduler", &["core", "objects", "messaging", "rpcapi", "clients"]),
    ("conductor", &["core", "objects", "messaging", "rpcapi", "clients", "db"]),
    ("compute", &["core", "objects", "messaging", "rpcapi", "clients", "virt"]),
    ("api", &["core", "objects", "messaging", "rpcapi", "clients", "db"]),
    ("standalone", &["core", "clients", "db"]),
    (
        "kilonova",
        &[
            "core",
            "objects",
            "messaging",
            "rpcapi",
            "db",
            "clients",
            "placement",
            "virt",
            "scheduler",
            "conductor",
            "compute",
            "api",
            "standalone",
        ],
    ),
    ("xtask", &[]),
];

/// The one crate with SQL.
const SQL_CRATE: &str = "db";
/// Beginnings of the names of crates that speak SQL.
const SQL_LIBRARIES: [&str; 5] = ["sea-orm", "sea-query", "sqlx", "rusqlite", "libsqlite3-sys"];

/// A sentence for each dependency that the table does not allow, and each crate that it does not know.
pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| short(package.name.as_str())).collect();
    let mut found: Vec<String> = packages.iter().flat_map(|package| violations_of(package, &names)).collect();
    for (name, _) in MAY_DEPEND_ON {
        if !names.contains(name) {
            found.push(format!("{name} is in xtask's table of crates, but not in the workspace"));
        }
    }
    found
}

fn violations_of(package: &Package, workspace: &BTreeSet<&str>) -> Vec<String> {
    let dependencies = package.dependencies.iter().map(|dependency| dependency.name.as_str());
    forbidden(short(package.name.as_str()), dependencies, workspace)
}

fn forbidden<'a>(name: &str, dependencies: impl Iterator<Item = &'a str>, workspace: &BTreeSet<&str>) -> Vec<String> {
    let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(listed, _)| *listed == name) else {
        return vec![format!("{name} is not in xtask's table of crates: say there what it may depend on")];
    };
    let mut found = Vec::new();
    for dependency in dependencies {
        let inner = short(dependency);
        if workspace.contains(inner) && !allowed.contains(&inner) {
            found.push(format!("{name} may not depend on {inner}"));
        }
        if name != SQL_CRATE && SQL_LIBRARIES.iter().any(|library| dependency.starts_with(library)) {
            found.push(format!("{name} may not depend on {dependency}: SQL is {SQL_CRATE}'s business"));
        }
    }
    found
}

fn short(name: &str) -> &str {
    name.strip_prefix("kilonova-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that the table lets a crate reach.
    fn reachable(name: &str) -> BTreeSet<&'static str> {
        let (_, allowed) = MAY_DEPEND_ON.iter().find(|(listed, _)| *listed == name).unwrap();
        let mut all: BTreeSet<_> = allowed.iter().copied().collect();
        for next in *allowed {
            all.extend(reachable(next));
        }
        all
    }

    fn of(name: &str, dependencies: &[&str]) -> Vec<String> {
        let workspace = MAY_DEPEND_ON.iter().map(|(name, _)| *name).collect();
        forbidden(name, dependencies.iter().copied(), &workspace)
    }

    #[test]
    fn a_compute_host_cannot_reach_the_database() {
        assert!(!reachable("compute").contains("db"));
        assert!(!reachable("virt").contains("db"));
    }

    #[test]
    fn the_services_never_see_each_other() {
        let services = ["scheduler", "conductor", "compute", "api"];
        for service in services {
            let reached = reachable(service);
            assert_eq!(services.iter().find(|other| reached.contains(**other)), None, "from {service}");
        }
    }

    #[test]
    fn messaging_knows_no_nova() {
        assert_eq!(reachable("messaging"), BTreeSet::from(["core"]));
    }

    #[test]
    fn a_dependency_against_the_table_is_found() {
        assert_eq!(of("compute", &["serde", "kilonova-virt", "kilonova-db"]), ["compute may not depend on db"]);
        assert_eq!(of("scheduler", &["kilonova-rpcapi", "tokio"]), Vec::<String>::new());
    }

    #[test]
    fn sql_outside_of_db_is_found() {
        assert_eq!(of("api", &["sea-orm"]), ["api may not depend on sea-orm: SQL is db's business"]);
        assert_eq!(of("db", &["sea-orm", "sea-orm-migration"]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_nobody_placed_is_found() {
        assert_eq!(of("console", &[]).len(), 1);
    }
}
