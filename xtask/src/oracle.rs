//! `cargo xtask oracle`: the tests of the API write their answers down, and the response schemas of Nova's own
//! controllers are held against them. Nothing of Nova's is kept: it is installed below target/ and asked.

use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{cargo, process, python};

/// Where the tests find the name of the file for their answers; the same as in the API's tests.
const RECORDING: &str = "KILONOVA_RECORDING";

/// Fails if an answer does not fit.
pub(crate) async fn run(workspace: &Workspace) -> anyhow::Result<()> {
    cargo::ensure_nextest(workspace).await?;
    let python = python::ensure_nova(workspace).await?;
    let recording = workspace.target("oracle-recording.jsonl");
    std::fs::write(&recording, "")?;
    let step = Step::loud("tests of the API, with their answers written down");
    let mut nextest = process::cargo(workspace.root());
    nextest.args(["nextest", "run", "--package", "kilonova-api"]).env(RECORDING, &recording);
    process::run(&mut nextest).await?;
    step.done("");
    let script = workspace.root().join("xtask/oracle.py");
    process::run(process::program(python).arg(script).arg(&recording)).await
}
