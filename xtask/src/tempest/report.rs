//! The results for people: a summary for the terminal, and the page `docs/tempest.md` with every test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::results::{Outcome, Results};

/// How many of each.
#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
    not_run: usize,
}

impl Counts {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        outcomes.fold(Self::default(), |mut counts, outcome| {
            match outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
                Outcome::NotRun => counts.not_run += 1,
            }
            counts
        })
    }

    fn words(self) -> String {
        let Self { passed, failed, skipped, not_run } = self;
        let not_run = if not_run == 0 { String::new() } else { format!(", {not_run} not run") };
        format!("{passed} passed, {failed} failed, {skipped} skipped{not_run}")
    }
}

/// A line per class, what failed, and why the rest was skipped.
pub(super) fn summary(results: &Results) -> String {
    let mut text = String::new();
    for (class, tests) in results.classes() {
        let counts = Counts::of(tests.iter().map(|(_, outcome)| *outcome));
        line(&mut text, format_args!("{}: {}", short(class), counts.words()));
        for (name, outcome) in &tests {
            if let Outcome::Failed(reason) = outcome {
                line(&mut text, format_args!("    FAILED {name}: {}", cut(reason)));
            }
        }
    }
    line(&mut text, "\nskipped");
    for (reason, count) in reasons(results) {
        line(&mut text, format_args!("{count:>5}  {reason}"));
    }
    line(&mut text, format_args!("\n{} tests: {}", results.tests.len(), all(results).words()));
    text
}

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let mut text = String::from(HEAD);
    line(&mut text, format_args!("**{} tests: {}.**\n", results.tests.len(), all(results).words()));
    line(&mut text, "## Skipped by tempest\n\n| tests | reason that tempest gives |\n|---|---|");
    for (reason, count) in reasons(results) {
        line(&mut text, format_args!("| {count} | {} |", reason.replace('|', "\\|")));
    }
    line(&mut text, "\n## Every test");
    for (class, tests) in results.classes() {
        let counts = Counts::of(tests.iter().map(|(_, outcome)| *outcome));
        line(&mut text, format_args!("\n### {}\n\n{}\n", short(class), counts.words()));
        for (name, outcome) in tests {
            let word = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "**failed**",
                Outcome::Skipped(_) => "skipped",
                Outcome::NotRun => "**not run**",
            };
            line(&mut text, format_args!("- {word}: `{name}`"));
        }
    }
    text
}

const HEAD: &str = "\
# Tempest

Written by `cargo xtask tempest`: every test of tempest 47.0.0 for the compute API (`tempest.api.compute` and
`tempest.serial_tests.api.compute`), with two workers, against `kilonova up --driver fake --fake-hosts 2`. What the
configuration (`xtask/src/tempest/tempest.conf`) switches off because it is not there, tempest skips: volumes, logins to
guests, floating addresses and serial consoles.

";

fn line(text: &mut String, what: impl std::fmt::Display) {
    // writing to a string does not fail
    let _ = writeln!(text, "{what}");
}

fn all(results: &Results) -> Counts {
    Counts::of(results.tests.iter().map(|(_, outcome)| outcome))
}

/// Why tests were skipped, and how many.
fn reasons(results: &Results) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for (_, outcome) in &results.tests {
        if let Outcome::Skipped(reason) = outcome {
            *reasons.entry(reason.as_str()).or_default() += 1;
        }
    }
    reasons
}

/// A class without what all of them have before it.
fn short(class: &str) -> &str {
    let class = class.strip_prefix("tempest.").unwrap_or(class);
    class.strip_prefix("api.compute.").unwrap_or(class)
}

/// The beginning of a reason, for a terminal.
fn cut(reason: &str) -> String {
    const LONGEST: usize = 300;
    reason.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let test = |name: &str, outcome| (format!("tempest.api.compute.{name}"), outcome);
        Results {
            tests: vec![
                test("a.A.test_one", Outcome::Passed),
                test("a.A.test_two", Outcome::Failed("m.Error: no".to_owned())),
                test("b.B.test_three", Outcome::Skipped("no | volumes".to_owned())),
            ],
        }
    }

    #[test]
    fn the_summary_counts_by_class_and_says_what_failed() {
        let text = summary(&results());
        for line in [
            "a.A: 1 passed, 1 failed, 0 skipped",
            "    FAILED test_two: m.Error: no",
            "    1  no | volumes",
            "3 tests: 1 passed, 1 failed, 1 skipped",
        ] {
            assert!(text.lines().any(|known| known == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn the_page_has_every_test() {
        let text = page(&results());
        for line in
            ["- passed: `test_one`", "- **failed**: `test_two`", "- skipped: `test_three`", "| 1 | no \\| volumes |"]
        {
            assert!(text.lines().any(|known| known == line), "{line:?} is not in\n{text}");
        }
    }
}
