//! The log: to stderr, or to the file that the configuration names, at a level that can change while the process runs.
//!
//! ```text
//!   tracing ──> filter (RUST_LOG, else [DEFAULT] debug) ──> stderr, or --log-file, log_file, log_dir
//! ```

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Stderr, stderr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context as _;
use kilonova_core::Config;
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// What is said without `debug`. The libraries' own words about lost connections are said by us, with what follows.
const QUIET: &str = "info,sqlx=warn,sqlx_core=error,sea_orm_migration=warn";
/// What is said with `debug`: the crates of Kilonova have names that begin so.
const LOUD: &str = "info,sqlx=warn,sqlx_core=error,sea_orm_migration=warn,kilonova=debug";

/// Where the level can be changed; not set while `RUST_LOG` has the say.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// `None` is stderr: stdout is for what a command answers.
static FILE: RwLock<Option<Arc<File>>> = RwLock::new(None);

/// Begins to log, to stderr.
pub fn init() {
    let chosen = EnvFilter::try_from_default_env();
    let is_chosen = chosen.is_ok();
    let (filter, level) = reload::Layer::new(chosen.unwrap_or_else(|_| EnvFilter::new(QUIET)));
    if !is_chosen {
        // There is one log in a process: a second time changes nothing.
        let _ = LEVEL.set(level);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(output).with_ansi(stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// The file of this program that was asked for on the command line, or by `[DEFAULT] log_file` and `log_dir`.
pub(crate) fn file(config: &Config, asked: Option<&Path>, program: &str) -> Option<PathBuf> {
    let option = |name: &str| config.get("DEFAULT", name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = option("log_dir");
    match asked.map(Path::to_owned).or_else(|| option("log_file")) {
        Some(file) => Some(dir.unwrap_or_default().join(file)),
        None => dir.map(|dir| dir.join(format!("{program}.log"))),
    }
}

/// Logs to `file` from now on, opened anew: what rotates logs has moved the old one away.
pub(crate) fn write_to(file: Option<&Path>) -> anyhow::Result<()> {
    let open = |path: &Path| {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| format!("cannot write the log file {}", path.display()))
    };
    let file = file.map(open).transpose()?.map(Arc::new);
    *FILE.write().unwrap_or_else(PoisonError::into_inner) = file;
    Ok(())
}

/// Takes the level of `[DEFAULT] debug`, unless `RUST_LOG` has the say.
pub(crate) fn set_level(config: &Config) -> anyhow::Result<()> {
    let directives = if config.flag("DEFAULT", "debug", false)? { LOUD } else { QUIET };
    if let Some(level) = LEVEL.get() {
        level.reload(EnvFilter::new(directives))?;
    }
    Ok(())
}

fn output() -> EitherWriter<Arc<File>, Stderr> {
    match &*FILE.read().unwrap_or_else(PoisonError::into_inner) {
        Some(file) => EitherWriter::A(file.clone()),
        None => EitherWriter::B(stderr()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_oslo_log_has_it() {
        let at = |text: &str, asked: Option<&str>| {
            file(&Config::from_text(text).unwrap(), asked.map(Path::new), "nova-compute")
        };
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(at("", None), None);
        assert_eq!(at("[DEFAULT]\nlog_file = /l/n.log\n", None), path("/l/n.log"));
        assert_eq!(at("[DEFAULT]\nlog_file = n.log\nlog_dir = /l\n", None), path("/l/n.log"));
        assert_eq!(at("[DEFAULT]\nlog_dir = /l\n", None), path("/l/nova-compute.log"));
        assert_eq!(at("[DEFAULT]\nlog_file = /l/n.log\n", Some("/l/asked.log")), path("/l/asked.log"));
    }
}
