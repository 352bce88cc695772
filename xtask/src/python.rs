//! Python environments that the tests use, below target/. Each is made from a file of requirements, and made again when
//! that changes.

use std::path::{Path, PathBuf};

use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// A directory below target/, what is installed in it, and what for.
pub(crate) struct Environment {
    directory: &'static str,
    requirements: &'static str,
    purpose: &'static str,
}

/// The OpenStack client that looks at Kilonova from outside.
const OPENSTACK_CLIENT: Environment = Environment {
    directory: "venv",
    requirements: "xtask/python-requirements.txt",
    purpose: "the OpenStack client of the tests",
};

/// oslo.messaging, the peer of the messaging crate.
const OSLO_MESSAGING: Environment = Environment {
    directory: "oslo-venv",
    requirements: "xtask/oslo-requirements.txt",
    purpose: "Python's oslo.messaging",
};

/// OpenStack's own test suite.
const TEMPEST: Environment =
    Environment { directory: "tempest-venv", requirements: "xtask/tempest-requirements.txt", purpose: "tempest" };
/// Nova itself, whose response schemas are the measure of ours.
const NOVA: Environment =
    Environment { directory: "nova-venv", requirements: "xtask/nova-requirements.txt", purpose: "Nova's code" };

/// OpenStack's Placement, whose answers are the measure of ours.
const PLACEMENT: Environment = Environment {
    directory: "placement-venv",
    requirements: "xtask/placement-requirements.txt",
    purpose: "OpenStack's Placement",
};

/// Makes requests of what an OpenAPI document says.
const SCHEMATHESIS: Environment =
    Environment { directory: "fuzz-venv", requirements: "xtask/fuzz-requirements.txt", purpose: "schemathesis" };

/// Makes the environment unless it is there; returns its `schemathesis`.
pub(crate) async fn ensure_schemathesis(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(SCHEMATHESIS.ensure(workspace).await?.join("bin/schemathesis"))
}

/// Makes the environment unless it is there; returns its Python.
pub(crate) async fn ensure_placement(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(PLACEMENT.ensure(workspace).await?.join("bin/python"))
}

/// Makes the environment unless it is there; returns its Python.
pub(crate) async fn ensure_nova(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(NOVA.ensure(workspace).await?.join("bin/python"))
}

/// Makes the environment unless it is there; returns its `openstack`.
pub(crate) async fn ensure_openstack_client(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(OPENSTACK_CLIENT.ensure(workspace).await?.join("bin/openstack"))
}

/// Makes the environment unless it is there; returns its Python.
pub(crate) async fn ensure_oslo_messaging(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(OSLO_MESSAGING.ensure(workspace).await?.join("bin/python"))
}

/// Makes the environment unless it is there; returns its `tempest`.
pub(crate) async fn ensure_tempest(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(TEMPEST.ensure(workspace).await?.join("bin/tempest"))
}

impl Environment {
    async fn ensure(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        let requirements = workspace.root().join(self.requirements);
        let venv = workspace.target(self.directory);
        let wanted = std::fs::read_to_string(&requirements)?;
        if is_made(&venv, &wanted) {
            return Ok(venv);
        }
        let step = Step::loud(format!("installing {} into target/{}", self.purpose, self.directory));
        process::run(process::program("python3").args(["-m", "venv", "--clear"]).arg(&venv)).await?;
        let mut pip = process::program(venv.join("bin/pip"));
        process::run(pip.args(["install", "--quiet", "--requirement"]).arg(&requirements)).await?;
        // last, so that an interrupted installation is not taken for a whole one
        std::fs::write(record(&venv), wanted)?;
        step.done("");
        Ok(venv)
    }
}

/// What was installed.
fn record(venv: &Path) -> PathBuf {
    venv.join("installed-requirements.txt")
}

/// Also not if the Python that it was made with has gone.
fn is_made(venv: &Path, wanted: &str) -> bool {
    venv.join("bin/python").exists() && std::fs::read_to_string(record(venv)).is_ok_and(|text| text == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_whole_with_its_python_and_the_same_requirements() {
        let dir = tempfile::tempdir().unwrap();
        let venv = dir.path();
        std::fs::write(record(venv), "a==1\n").unwrap();
        assert!(!is_made(venv, "a==1\n"), "there is no python");
        std::fs::create_dir(venv.join("bin")).unwrap();
        std::fs::write(venv.join("bin/python"), "").unwrap();
        assert!(is_made(venv, "a==1\n"));
        assert!(!is_made(venv, "a==2\n"));
    }
}
