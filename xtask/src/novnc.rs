//! noVNC, the page's part of a screen console: its npm package, for the binary to have it built in.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

const PACKAGE: &str = "@novnc/novnc";
const VERSION: &str = "1.7.0";

/// The directory with the package, below target/; none where there is no npm, which is said.
pub(crate) async fn ensure(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    let dir = workspace.target(&format!("novnc-{VERSION}"));
    let package = dir.join("package");
    if package.join("core/rfb.js").exists() {
        return Ok(Some(package));
    }
    if process::capture(process::program("npm").arg("--version")).await.is_err() {
        eprintln!(
            "npm is not installed: this kilonova has no noVNC, and its consoles' page says so (apt install npm, and again)"
        );
        return Ok(None);
    }
    let step = Step::quiet(format!("fetching {PACKAGE} {VERSION} into {}", dir.display()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut pack = process::program("npm");
    pack.args(["pack", "--silent", &format!("{PACKAGE}@{VERSION}"), "--pack-destination"]).arg(&dir).current_dir(&dir);
    // npm holds what it fetched against the checksum of its registry.
    let name = match process::capture(&mut pack).await {
        Ok(name) => name,
        Err(error) => {
            step.done("not there");
            eprintln!("this kilonova has no noVNC, and its consoles' page says so: {error:#}");
            return Ok(None);
        }
    };
    let mut unpack = process::program("tar");
    process::run(unpack.arg("-xzf").arg(dir.join(name.trim())).arg("-C").arg(&dir)).await?;
    step.done("");
    Ok(Some(package))
}
