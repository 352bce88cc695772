//! `python-openstackclient`, as a user types it.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The client that `cargo xtask test` installed; its path is in KILONOVA_OPENSTACK.
pub(crate) fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/openstack");
    let program = std::env::var_os("KILONOVA_OPENSTACK").map_or(installed, PathBuf::from);
    assert!(program.exists(), "{} is missing: `cargo xtask test` installs it", program.display());
    program
}

/// The client for one cloud of a `clouds.yaml`.
pub(crate) struct OpenStack {
    program: PathBuf,
    clouds_yaml: PathBuf,
    cloud: &'static str,
}

impl OpenStack {
    pub(crate) fn new(clouds_yaml: &Path, cloud: &'static str) -> Self {
        Self { program: program(), clouds_yaml: clouds_yaml.to_owned(), cloud }
    }

    fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = Command::new(&self.program)
            .args(["--os-cloud", self.cloud])
            .args(arguments)
            .env("OS_CLIENT_CONFIG_FILE", &self.clouds_yaml)
            .env_remove("OS_CLOUD")
            .output()
            .expect("the client starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// What the command prints; it must succeed.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let (is_success, stdout, stderr) = self.run(arguments);
        assert!(is_success, "openstack {}: {stdout}{stderr}", arguments.join(" "));
        stdout
    }

    /// What the command prints with `-f json`; it must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["-f", "json"]].concat());
        // Progress of --wait stands before the JSON.
        let start = text.find(['{', '[']).unwrap_or_else(|| panic!("no JSON in {text}"));
        serde_json::from_str(&text[start..]).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What the command says when it fails, as it must.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let (is_success, stdout, stderr) = self.run(arguments);
        assert!(!is_success, "openstack {} succeeded: {stdout}", arguments.join(" "));
        stderr
    }
}

/// The value of a column in the rows of a list, by the name in another column.
pub(crate) fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    let found = rows.as_array().and_then(|rows| rows.iter().find(|row| row["Name"] == name));
    found.unwrap_or_else(|| panic!("no row is named {name}: {rows}"))
}
