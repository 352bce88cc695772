//! Calls and casts over RabbitMQ, beside Python's oslo.messaging on the same broker. The load is that of
//! crates/messaging/benches: `rabbit.rs` and its counterpart `oslo_peer.py`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use kilonova_testing::RabbitMq;
use serde_json::Value;

use super::report::Row;
use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{packages, process, python};

/// How many times as many calls, and casts, are promised.
const CALLS_FACTOR: f64 = 4.0;
const CASTS_FACTOR: f64 = 5.0;
/// What share of the processor's time per message is promised.
const CPU_SHARE: f64 = 0.1;
const P99_MS: f64 = 10.0;

/// All rows.
pub(super) async fn measure(workspace: &Workspace) -> anyhow::Result<Vec<Row>> {
    packages::ensure(&[&packages::PYTHON, &packages::SERVERS]).await?;
    let oslo_python = python::ensure_oslo_messaging(workspace).await?;
    let step = Step::quiet("starting RabbitMQ on the loopback");
    let broker = RabbitMq::start()?;
    step.done("");
    let step = Step::quiet("Python's oslo.messaging");
    let script = workspace.root().join("crates/messaging/benches/oslo_peer.py");
    let theirs = phases(&process::capture(process::program(oslo_python).arg(script).arg(broker.url())).await?)?;
    step.done("");
    let step = Step::quiet("the messaging crate (builds it first)");
    let mut bench = process::cargo(workspace.root());
    bench.args(["bench", "--package", "kilonova-messaging", "--bench", "rabbit"]);
    let ours = phases(&process::capture(bench.env(kilonova_testing::RABBITMQ_URL, broker.url())).await?)?;
    step.done("");
    rows(&ours, &theirs)
}

/// What was measured, by the name of the phase: `call_1`, `call_16`, `cast_1`, `cast_16`.
type Phases = BTreeMap<String, Value>;

fn phases(output: &str) -> anyhow::Result<Phases> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    let phase = |line| {
        let phase: Value = serde_json::from_str(line)?;
        let name = phase["phase"].as_str().context("a phase without a name")?.to_owned();
        Ok((name, phase))
    };
    lines.map(phase).collect()
}

fn figure(phases: &Phases, phase: &str, key: &str) -> anyhow::Result<f64> {
    let value = phases.get(phase).and_then(|phase| phase[key].as_f64());
    value.with_context(|| format!("{key} of {phase} was not measured"))
}

fn rows(ours: &Phases, theirs: &Phases) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (phase, name, factor) in [
        ("call_1", "calls, 1 caller", CALLS_FACTOR),
        ("call_16", "calls, 16 callers", CALLS_FACTOR),
        ("cast_1", "casts, 1 caster", CASTS_FACTOR),
        ("cast_16", "casts, 16 casters", CASTS_FACTOR),
    ] {
        let (mine, other) = (figure(ours, phase, "per_s")?, figure(theirs, phase, "per_s")?);
        let rate = format!("RPC {name}: {mine:.0}/s, oslo.messaging {other:.0}/s");
        rows.push(Row::at_least(rate, mine / other, factor, "×"));
        let (mine, other) = (figure(ours, phase, "cpu_ms")?, figure(theirs, phase, "cpu_ms")?);
        let cpu = format!("RPC {name}: CPU per message {mine:.3} ms, oslo.messaging {other:.3} ms");
        rows.push(Row::at_most(cpu, mine / other, CPU_SHARE, "×"));
    }
    rows.push(Row::at_most("RPC calls, 16 callers: p99", figure(ours, "call_16", "p99_ms")?, P99_MS, "ms"));
    let theirs = figure(theirs, "call_16", "p99_ms")?;
    rows.push(Row::figure("RPC calls, 16 callers: p99 of oslo.messaging", theirs, "ms"));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_a_line_of_json_among_others() {
        let phases = phases("warming up\n{\"phase\": \"call_1\", \"per_s\": 5.5}\n").unwrap();
        assert!((figure(&phases, "call_1", "per_s").unwrap() - 5.5).abs() < 1e-9);
        assert!(figure(&phases, "call_1", "p99_ms").is_err() && figure(&phases, "cast_1", "per_s").is_err());
    }

    #[test]
    fn all_phases_are_compared() {
        let phase = |name: &str| format!(r#"{{"phase":"{name}","per_s":8,"cpu_ms":0.5,"p99_ms":2}}"#);
        let all = ["call_1", "call_16", "cast_1", "cast_16"].map(phase).join("\n");
        let phases = phases(&all).unwrap();
        assert_eq!(rows(&phases, &phases).unwrap().len(), 10);
    }
}
