//! docs/compat-ledger.md names every operation, every microversion, and tests that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::routes::{ROUTES, Route};
use crate::versions::{MAX_VERSION, MIN_VERSION};

/// A line of a table: its cells.
type Row = Vec<String>;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The lines of the table below a heading, without its head and the names of its parts.
fn table(heading: &str) -> Vec<Row> {
    let ledger = std::fs::read_to_string(crates().parent().unwrap().join("docs/compat-ledger.md")).unwrap();
    let (_, section) = ledger.split_once(&format!("\n## {heading}")).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|')).filter(|line| !line.starts_with("| **"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn in_words(route: &Route) -> (String, String) {
    let action = route.action.map(|name| format!(" `{name}`")).unwrap_or_default();
    let versions = match (route.from > MIN_VERSION, route.to < MAX_VERSION) {
        (false, false) => "all".to_owned(),
        (true, false) => format!("{} on", route.from),
        (false, true) => format!("to {}", route.to),
        (true, true) => format!("{} to {}", route.from, route.to),
    };
    (format!("{} `{}`{action}", route.method.as_str(), route.path), versions)
}

/// The tests that a cell does not have, of those that it names: a file and the functions after it.
fn missing(cell: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut parts = cell.split('`').skip(1);
    while let (Some(file), Some(names)) = (parts.next(), parts.next()) {
        let places = ["api/src/tests", "kilonova/tests", "kilonova/tests/common", ""];
        let source = places.iter().find_map(|place| std::fs::read_to_string(crates().join(place).join(file)).ok());
        let Some(source) = source else {
            missing.push(file.to_owned());
            continue;
        };
        let names = names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.contains('_'));
        let absent = names.filter(|name| !source.contains(&format!("fn {name}(")));
        missing.extend(absent.map(|name| format!("{file} {name}")));
    }
    missing
}

#[test]
fn every_operation_is_in_the_ledger_in_its_microversions() {
    let documents = ["GET `/`", "GET `/versions/{id}`"].map(|name| (name.to_owned(), "all".to_owned()));
    let served: BTreeSet<_> = ROUTES.iter().filter(|route| !route.is_gone).map(in_words).chain(documents).collect();
    let rows = table("1. Compute operations");
    let listed: BTreeSet<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!((rows.len(), &listed), (served.len(), &served));
}

#[test]
fn every_microversion_is_in_the_ledger() {
    let listed: Vec<_> = table("2. Microversions").into_iter().map(|row| row[0].clone()).collect();
    let all: Vec<_> = (MIN_VERSION.minor..=MAX_VERSION.minor).map(|minor| format!("2.{minor}")).collect();
    assert_eq!(listed, all);
}

#[test]
fn the_tests_that_the_ledger_names_are_there() {
    let operations = table("1. Compute operations").into_iter().map(|row| row[2].clone());
    let microversions = table("2. Microversions").into_iter().map(|row| row[1].clone());
    let mut named = 0;
    for cell in operations.chain(microversions) {
        assert!(cell == "none" || cell.starts_with('`'), "{cell}");
        named += 1;
        assert_eq!(missing(&cell), [""; 0], "{cell}");
    }
    assert!(named > 300);
    assert_eq!(missing("`framework.rs` a_test_that_is_not_there"), ["framework.rs a_test_that_is_not_there"]);
    assert_eq!(missing("`nowhere.rs` (all)"), ["nowhere.rs"]);
}
