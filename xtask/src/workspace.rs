//! Where the sources and what is made of them are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process;

/// The checkout that this program was built from, and its target directory.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo, who alone knows where the target directory is.
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir.parent().context("xtask is not inside a workspace")?.to_path_buf();
        let mut metadata = process::cargo(&root);
        let metadata = process::capture(metadata.args(["metadata", "--no-deps", "--format-version", "1"])).await?;
        let metadata = cargo_metadata::MetadataCommand::parse(metadata)?;
        Ok(Self { root, target: metadata.target_directory.into_std_path_buf() })
    }

    /// The directory of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below cargo's target directory.
    pub(crate) fn target(&self, below: &str) -> PathBuf {
        self.target.join(below)
    }
}
