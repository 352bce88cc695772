//! What came of each test, read from what `tempest run` prints.
//!
//! ```text
//! {0} tempest.api.compute.a.ATest.test_one [0.155742s] ... ok
//! {1} tempest.api.compute.b.BTest.test_two [0.204110s] ... FAILED
//!     <what it printed and logged, with its traceback>
//! {0} setUpClass (tempest.api.compute.c.CTest) ... SKIPPED: Cinder is not available
//! ```

use std::collections::HashMap;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// With the last line of the traceback.
    Failed(String),
    /// With the reason.
    Skipped(String),
    /// Neither it nor its class was heard of.
    NotRun,
}

/// Every test that was asked for.
pub(super) struct Results {
    /// Full names, sorted.
    pub(super) tests: Vec<(String, Outcome)>,
}

/// The names of a list of tests: each without the attributes in brackets behind it.
pub(super) fn parse_list(output: &str) -> Vec<String> {
    let names = output.lines().filter(|line| line.starts_with("tempest."));
    let mut names: Vec<String> = names.map(|line| line.split('[').next().unwrap_or(line).trim().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Whether tempest came to its end.
pub(super) fn has_totals(output: &str) -> bool {
    output.lines().any(|line| line.trim() == "Totals")
}

impl Results {
    /// What the output says about these tests.
    pub(super) fn parse(tests: &[String], output: &str) -> Self {
        let said = outcomes(output);
        let outcome = |test: &String| {
            let class = test.rsplit_once('.').map_or("", |(class, _)| class);
            let of_class = || said.get(format!("setUpClass ({class})").as_str());
            let outcome = said.get(test.as_str()).or_else(of_class).cloned().unwrap_or(Outcome::NotRun);
            (test.clone(), outcome)
        };
        Self { tests: tests.iter().map(outcome).collect() }
    }

    /// The classes in order, each with its tests by their short names.
    pub(super) fn classes(&self) -> Vec<(&str, Vec<(&str, &Outcome)>)> {
        let mut classes: Vec<(&str, Vec<_>)> = Vec::new();
        for (test, outcome) in &self.tests {
            let (class, name) = test.rsplit_once('.').unwrap_or(("", test));
            match classes.last_mut().filter(|(last, _)| *last == class) {
                Some((_, tests)) => tests.push((name, outcome)),
                None => classes.push((class, vec![(name, outcome)])),
            }
        }
        classes
    }
}

/// By the names that the output has: of tests, or `setUpClass (CLASS)`.
fn outcomes(output: &str) -> HashMap<&str, Outcome> {
    let mut outcomes = HashMap::new();
    let (mut failing, mut section) = (None, "");
    for line in output.lines() {
        if let Some((name, status)) = verdict(line) {
            failing = (status == "FAILED").then_some(name);
            outcomes.insert(name, parse_status(status));
        } else if line.starts_with("Captured ") {
            section = line;
        } else if section == "Captured traceback:"
            && let Some(Outcome::Failed(reason)) = failing.and_then(|name| outcomes.get_mut(name))
        {
            add_cause(reason, line);
        }
    }
    outcomes
}

/// The name and the word behind it, if the line is the end of a test.
fn verdict(line: &str) -> Option<(&str, &str)> {
    let (worker, rest) = line.strip_prefix('{')?.split_once("} ")?;
    worker.parse::<u32>().ok()?;
    let (name, status) = rest.split_once(" ... ")?;
    let name = name.split_once(" [").map_or(name, |(name, _)| name);
    Some((name, status))
}

fn parse_status(status: &str) -> Outcome {
    match status.split_once(':').map_or((status, ""), |(word, reason)| (word, reason.trim())) {
        ("ok", _) => Outcome::Passed,
        ("SKIPPED", reason) => Outcome::Skipped(reason.to_owned()),
        _ => Outcome::Failed(String::new()),
    }
}

/// What a line of a traceback says about why: `module.Class: words`, the last of which counts, and the details that
/// tempest adds to an answer it did not expect.
fn add_cause(reason: &mut String, line: &str) {
    let line = line.trim();
    if line.starts_with("Details: ") && !reason.is_empty() {
        *reason = format!("{reason} {line}");
    } else if let Some((class, _)) = line.split_once(": ")
        && (class.contains('.') || class.ends_with("Error"))
        && class.chars().all(|letter| letter.is_alphanumeric() || "._".contains(letter))
    {
        line.clone_into(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
{0} tempest.api.a.A.test_one [0.155742s] ... ok
{1} tempest.api.a.A.test_two [0.2s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):
  File \"a.py\", line 1, in test_two
    client.show(1)

    tempest.lib.exceptions.NotFound: Object not found
Details: {'code': 404}

Captured pythonlogging:
~~~~~~~~~~~~~~~~~~~~~~~
    a.b: not this

{0} setUpClass (tempest.api.b.B) ... SKIPPED: Cinder is not available: no
{0} setUpClass (tempest.api.c.C) [0.0s] ... FAILED
======
Totals
======
";

    #[test]
    fn each_test_has_its_own_result_or_that_of_its_class() {
        let tests = ["a.A.test_one", "a.A.test_two", "b.B.test_three", "c.C.test_four", "d.D.test_five"];
        let tests: Vec<String> = tests.iter().map(|test| format!("tempest.api.{test}")).collect();
        let results = Results::parse(&tests, OUTPUT);
        let outcomes: Vec<_> = results.tests.into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Passed,
                Outcome::Failed("tempest.lib.exceptions.NotFound: Object not found Details: {'code': 404}".to_owned()),
                Outcome::Skipped("Cinder is not available: no".to_owned()),
                Outcome::Failed(String::new()),
                Outcome::NotRun,
            ]
        );
        assert!(has_totals(OUTPUT) && !has_totals("cannot import tempest"));
    }

    #[test]
    fn a_list_is_names_without_attributes() {
        let output = "warning: x\ntempest.api.b.B.test_two[id-1,smoke]\ntempest.api.a.A.test_one[id-2]\n";
        assert_eq!(parse_list(output), ["tempest.api.a.A.test_one", "tempest.api.b.B.test_two"]);
    }
}
