//! How long a decision of the scheduler takes, by the number of hosts: crates/scheduler/benches, where placement and the
//! hosts answer from memory.

use anyhow::Context as _;
use serde_json::Value;

use super::report::Row;
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// What the bench prints, how it is called in the table, and what is promised of it in milliseconds.
const FIGURES: [(&str, &str, &str, f64); 6] = [
    ("hosts_1000", "p50_ms", "select_destinations, 1,000 hosts: p50", 1.0),
    ("hosts_10000", "p50_ms", "select_destinations, 10,000 hosts: p50", 5.0),
    ("hosts_100000", "p50_ms", "select_destinations, 100,000 hosts: p50", 50.0),
    ("batch_100_hosts_1000", "ms", "100 servers in one request, 1,000 hosts", 100.0),
    ("batch_100_hosts_10000", "ms", "100 servers in one request, 10,000 hosts", 100.0),
    ("batch_1000_hosts_10000", "ms", "1,000 servers in one request, 10,000 hosts", 1000.0),
];

/// All rows.
pub(super) async fn measure(workspace: &Workspace) -> anyhow::Result<Vec<Row>> {
    let step = Step::quiet("the scheduler (builds it first)");
    let mut bench = process::cargo(workspace.root());
    bench.args(["bench", "--package", "kilonova-scheduler", "--bench", "select_destinations"]);
    let rows = rows(&process::capture(&mut bench).await?)?;
    step.done("");
    Ok(rows)
}

fn rows(output: &str) -> anyhow::Result<Vec<Row>> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    let phases: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let figure = |(phase, key, name, target): &(&str, &str, &'static str, f64)| {
        let found = phases.iter().find(|line| line["phase"] == *phase).and_then(|line| line[key].as_f64());
        Ok(Row::at_most(*name, found.with_context(|| format!("{phase} was not measured"))?, *target, "ms"))
    };
    FIGURES.iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_must_have_been_printed() {
        let line = |(phase, key, ..): &(&str, &str, &str, f64)| format!(r#"{{"phase": "{phase}", "{key}": 0.5}}"#);
        let all: Vec<String> = FIGURES.iter().map(line).collect();
        assert_eq!(rows(&format!("building\n{}\n", all.join("\n"))).unwrap().len(), FIGURES.len());
        assert!(rows(&all[1..].join("\n")).is_err());
    }
}
