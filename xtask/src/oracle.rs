//! `cargo xtask oracle`: the tests of the API, and those of whole clouds with the fake driver, write the API's answers
//! down, and the response schemas of Nova's own controllers are held against them. Nothing of Nova's is kept: it is installed below target/ and asked.

use std::path::PathBuf;

use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, process, python};

/// Tests that write their answers down, and what looks at those.
struct Oracle {
    tests: &'static [&'static str],
    /// Where the tests find the name of the file for their answers; the same as in the tests.
    variable: &'static str,
    recording: &'static str,
    script: &'static str,
}

const NOVA: Oracle = Oracle {
    tests: &["--package", "kilonova-api", "--package", "kilonova", "-E", "package(kilonova-api) | binary(e2e)"],
    variable: "KILONOVA_RECORDING",
    recording: "oracle-recording.jsonl",
    script: "xtask/oracle.py",
};

const PLACEMENT: Oracle = Oracle {
    tests: &["--package", "kilonova-placement", "--test", "random"],
    variable: "KILONOVA_PLACEMENT_RECORDING",
    recording: "placement-recording.jsonl",
    script: "xtask/placement_oracle.py",
};

/// Fails if an answer of the Compute API does not fit.
pub(crate) async fn nova(workspace: &Workspace) -> anyhow::Result<()> {
    let python = python::ensure_nova(workspace).await?;
    NOVA.ask(workspace, python).await
}

/// `cargo xtask placement-oracle`: OpenStack's Placement is asked what random sequences of requests asked ours. Fails if
/// it answers otherwise.
pub(crate) async fn placement(workspace: &Workspace) -> anyhow::Result<()> {
    let python = python::ensure_placement(workspace).await?;
    PLACEMENT.ask(workspace, python).await
}

impl Oracle {
    async fn ask(&self, workspace: &Workspace, python: PathBuf) -> anyhow::Result<()> {
        cargo::ensure_nextest(workspace).await?;
        let recording = workspace.target(self.recording);
        std::fs::write(&recording, "")?;
        let step = Step::loud("tests of the API, with their answers written down");
        let mut nextest = process::cargo(workspace.root());
        nextest.args(["nextest", "run"]).args(self.tests).env(self.variable, &recording);
        process::run(&mut nextest).await?;
        step.done("");
        let script = workspace.root().join(self.script);
        process::run(process::program(python).arg(script).arg(&recording)).await
    }
}
