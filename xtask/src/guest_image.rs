//! `cargo xtask guest-image`: guest-image/build.sh with target/guest-image as its output and its cache.

use std::path::PathBuf;

use anyhow::bail;

use crate::packages::{self, GUEST_IMAGE};
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// Installs what the build needs, and builds.
pub(crate) async fn run(workspace: &Workspace) -> anyhow::Result<()> {
    packages::ensure(&[&GUEST_IMAGE]).await?;
    let image = build(workspace).await?;
    println!("{}", image.display());
    Ok(())
}

/// Builds unless nothing changed; returns the disk image.
pub(crate) async fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let output = workspace.target("guest-image");
    let image = output.join("guest.qcow2");
    let step = Step::loud("making the guest image");
    let build = async || {
        let mut script = process::program(workspace.root().join("guest-image/build.sh"));
        process::run_and_keep(script.arg("--output").arg(&output)).await
    };
    let (mut status, said) = build().await?;
    if !status.success() && said.contains("apt-get update") {
        println!("    apt's package lists are missing or old: updating them");
        packages::update_lists().await?;
        (status, _) = build().await?;
    }
    if !status.success() {
        bail!("the guest image could not be made ({status}): see above");
    }
    let megabytes = std::fs::metadata(&image)?.len() as f64 / 1e6;
    step.done(&format!("{} ({megabytes:.0} MB)", image.display()));
    Ok(image)
}
