//! The passwords of a cloud's first users, and the `clouds.yaml` that the clients read.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kilonova_core::Config;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::state_dir::write_private;

/// Made once per state directory and kept there (mode 0600).
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Credentials {
    pub(crate) admin_password: String,
    pub(crate) demo_password: String,
    /// Of the user `nova`, as whom services in other processes log in; a cloud in one process has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_password: Option<String>,
}

impl Credentials {
    /// The kept ones, or new random ones.
    pub(crate) fn load_or_make(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join("credentials.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Self {
                    admin_password: random_password(),
                    demo_password: random_password(),
                    service_password: None,
                };
                made.keep(state_dir)?;
                Ok(made)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The same for a cloud whose services log in from elsewhere. What `[standalone]` sets goes before what is kept.
    pub(crate) fn load_or_make_with_service(state_dir: &Path, config: &Config) -> anyhow::Result<Self> {
        let kept = Self::load_or_make(state_dir)?;
        let option = |name: &str, kept: String| config.get("standalone", name).unwrap_or(kept);
        let credentials = Self {
            admin_password: option("admin_password", kept.admin_password),
            demo_password: option("demo_password", kept.demo_password),
            service_password: Some(option("service_password", kept.service_password.unwrap_or_else(random_password))),
        };
        credentials.keep(state_dir)?;
        Ok(credentials)
    }

    fn keep(&self, state_dir: &Path) -> anyhow::Result<()> {
        write_private(&state_dir.join("credentials.json"), &serde_json::to_string_pretty(self)?)
    }

    /// Writes `clouds.yaml` for the services at `public_url`.
    pub(crate) fn write_clouds_yaml(
        &self,
        state_dir: &Path,
        public_url: &str,
        region: &str,
    ) -> anyhow::Result<PathBuf> {
        let cloud = |name: &str, user: &str, project: &str, password: &str| {
            format!(
                "  {name}:\n    auth:\n      auth_url: {public_url}/identity/v3\n      username: {user}\n      password: \
                 {password}\n      project_name: {project}\n      user_domain_name: Default\n      \
                 project_domain_name: Default\n    region_name: {region}\n    interface: public\n    \
                 identity_api_version: 3\n"
            )
        };
        let path = state_dir.join("clouds.yaml");
        let member = cloud("kilonova", "demo", "demo", &self.demo_password);
        let admin = cloud("kilonova-admin", "admin", "admin", &self.admin_password);
        write_private(&path, &format!("clouds:\n{member}{admin}"))?;
        Ok(path)
    }
}

/// 122 random bits: a UUID of version 4 without its dashes.
fn random_password() -> String {
    Uuid::new_v4().simple().to_string()
}
