//! The OpenStack client that the tests use: a Python environment in target/venv, made again when
//! xtask/python-requirements.txt changes.

use std::path::PathBuf;

use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// Makes the environment unless it is there; returns its `openstack`.
pub(crate) async fn ensure_openstack_client(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let requirements = workspace.root().join("xtask/python-requirements.txt");
    let venv = workspace.target("venv");
    let openstack = venv.join("bin/openstack");
    let installed = venv.join("installed-requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    if openstack.exists() && std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(openstack);
    }
    let step = Step::loud("installing the OpenStack client of the tests into target/venv");
    process::run(process::program("python3").args(["-m", "venv", "--clear"]).arg(&venv)).await?;
    let mut pip = process::program(venv.join("bin/pip"));
    process::run(pip.args(["install", "--quiet", "--requirement"]).arg(&requirements)).await?;
    // last, so that an interrupted installation is not taken for a whole one
    std::fs::write(&installed, wanted)?;
    step.done("");
    Ok(openstack)
}
