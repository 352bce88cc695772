//! Who may depend on whom. docs/architecture.md explains the borders; this table is where they are kept.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, Package};

/// A crate of the workspace, and the others that it may depend on; all without their `kilonova-`.
struct Crate {
    name: &'static str,
    uses: &'static [&'static str],
    /// Dependencies for tests, beside those above.
    tests_also_use: &'static [&'static str],
}

const fn row(name: &'static str, uses: &'static [&'static str]) -> Crate {
    Crate { name, uses, tests_also_use: &[] }
}

/// scheduler, conductor, compute and api never see each other: they meet in rpcapi.
const CRATES: [Crate; 16] = [
    row("core", &[]),
    row("objects", &["core"]),
    // real servers for the tests of the crates that talk to them
    row("testing", &[]),
    Crate { name: "messaging", uses: &["core"], tests_also_use: &["testing"] },
    row("rpcapi", &["core", "objects", "messaging"]),
    Crate { name: "db", uses: &["core", "objects"], tests_also_use: &["testing"] },
    row("clients", &["core", "objects"]),
    row("placement", &["core", "clients", "db"]),
    row("virt", &["core", "objects"]),
    // claims are tested on the placement service that counts them
    Crate {
        name: "scheduler",
        uses: &["core", "objects", "messaging", "rpcapi", "clients"],
        tests_also_use: &["db", "placement"],
    },
    Crate {
        name: "conductor",
        uses: &["core", "objects", "messaging", "rpcapi", "clients", "db"],
        tests_also_use: &["placement"],
    },
    row("compute", &["core", "objects", "messaging", "rpcapi", "clients", "virt"]),
    row("api", &["core", "objects", "messaging", "rpcapi", "clients", "db"]),
    row("standalone", &["core", "clients", "db"]),
    Crate { name: "kilonova", uses: ALL, tests_also_use: &["testing"] },
    row("xtask", &["testing"]),
];

const ALL: &[&str] = &[
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
    for Crate { name, .. } in &CRATES {
        if !names.contains(name) {
            found.push(format!("{name} is in xtask's table of crates, but not in the workspace"));
        }
    }
    found
}

fn violations_of(package: &Package, workspace: &BTreeSet<&str>) -> Vec<String> {
    let dependencies = package.dependencies.iter();
    let dependencies = dependencies.map(|it| (it.name.as_str(), it.kind == DependencyKind::Development));
    forbidden(short(package.name.as_str()), dependencies, workspace)
}

/// `dependencies` are names, and whether only tests have them.
fn forbidden<'a>(
    name: &str,
    dependencies: impl Iterator<Item = (&'a str, bool)>,
    workspace: &BTreeSet<&str>,
) -> Vec<String> {
    let Some(row) = CRATES.iter().find(|row| row.name == name) else {
        return vec![format!("{name} is not in xtask's table of crates: say there what it may depend on")];
    };
    let mut found = Vec::new();
    for (dependency, is_for_tests) in dependencies {
        let inner = short(dependency);
        let is_allowed = row.uses.contains(&inner) || (is_for_tests && row.tests_also_use.contains(&inner));
        if workspace.contains(inner) && !is_allowed {
            let what = if is_for_tests { "tests may" } else { "may" };
            found.push(format!("{name} {what} not depend on {inner}"));
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

    /// Everything that the table lets a crate reach, its tests left out or not.
    fn reachable(name: &str, with_tests: bool) -> BTreeSet<&'static str> {
        let row = CRATES.iter().find(|row| row.name == name).unwrap();
        let tests: &[_] = if with_tests { row.tests_also_use } else { &[] };
        let mut all: BTreeSet<_> = row.uses.iter().chain(tests).copied().collect();
        for next in all.clone() {
            all.extend(reachable(next, false));
        }
        all
    }

    fn of(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let workspace = CRATES.iter().map(|row| row.name).collect();
        forbidden(name, dependencies.iter().copied(), &workspace)
    }

    #[test]
    fn a_compute_host_cannot_reach_the_database() {
        assert!(!reachable("compute", true).contains("db"));
        assert!(!reachable("virt", true).contains("db"));
        assert!(!reachable("scheduler", false).contains("db"));
    }

    #[test]
    fn the_services_never_see_each_other() {
        let services = ["scheduler", "conductor", "compute", "api"];
        for service in services {
            let reached = reachable(service, true);
            assert_eq!(services.iter().find(|other| reached.contains(**other)), None, "from {service}");
        }
    }

    #[test]
    fn messaging_knows_no_nova() {
        assert_eq!(reachable("messaging", false), BTreeSet::from(["core"]));
        assert_eq!(reachable("messaging", true), BTreeSet::from(["core", "testing"]), "nor do its tests");
    }

    #[test]
    fn a_dependency_against_the_table_is_found() {
        let dependencies = [("serde", false), ("kilonova-virt", false), ("kilonova-db", false)];
        assert_eq!(of("compute", &dependencies), ["compute may not depend on db"]);
        assert_eq!(of("compute", &[("kilonova-db", true)]), ["compute tests may not depend on db"]);
        assert_eq!(of("scheduler", &[("kilonova-rpcapi", false), ("tokio", false)]), Vec::<String>::new());
    }

    #[test]
    fn what_only_tests_may_use_is_forbidden_elsewhere() {
        assert_eq!(of("scheduler", &[("kilonova-placement", true)]), Vec::<String>::new());
        assert_eq!(of("scheduler", &[("kilonova-placement", false)]), ["scheduler may not depend on placement"]);
    }

    #[test]
    fn sql_outside_of_db_is_found() {
        assert_eq!(of("api", &[("sea-orm", true)]), ["api may not depend on sea-orm: SQL is db's business"]);
        assert_eq!(of("db", &[("sea-orm", false), ("sea-orm-migration", false)]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_nobody_placed_is_found() {
        assert_eq!(of("console", &[]).len(), 1);
    }
}
