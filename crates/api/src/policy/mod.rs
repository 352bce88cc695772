//! Who may do what: oslo.policy, as Nova uses it.
//!
//! ```text
//!   [oslo_policy]  ─> sources   which files there are, and whether they changed
//!   a file         ─> file      YAML or JSON: names and rules, with their lines
//!   a rule's text  ─> language  the check that it says
//!   defaults+files ─> rules     what is asked; what is wrong with it
//!                     sample    a file with every rule, for who writes one
//! ```
//!
//! The defaults are in `policies`. Files are looked at once a second by a task ([`Policy::watch`]); a request only
//! reads what is in memory. Files that cannot be used change nothing, but for the start: that fails.

mod file;
mod language;
mod rules;
mod sample;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use kilonova_core::{Config, ConfigError, RequestContext, Supervisor};

pub use rules::{Problem, Severity};
pub use sample::sample;

use rules::{Options, Rules};
use sources::{Sources, Stamp};

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Policy files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or a directory is not there or not readable.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in a file.
    #[error("{}:{line}: {reason}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An option of `[oslo_policy]`.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Attributes of the resource that a caller does something to.
pub trait Attributes {
    /// The value that `%(name)s` stands for.
    fn attribute(&self, name: &str) -> Option<&str>;
}

impl Attributes for BTreeMap<String, String> {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// Whose resource it is. Empty is nobody's: a rule that compares it denies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target<'a> {
    pub project_id: &'a str,
    pub user_id: &'a str,
}

impl Attributes for Target<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        let value = match name {
            "project_id" => self.project_id,
            "user_id" => self.user_id,
            _ => "",
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// The rules of a deployment.
#[derive(Debug)]
pub struct Policy {
    options: Options,
    sources: Sources,
    rules: RwLock<Rules>,
    seen: Mutex<Seen>,
}

/// What is known about the files.
#[derive(Debug, Default)]
struct Seen {
    /// Of the last try, whether or not it went well.
    stamp: Option<Stamp>,
    /// The last try could not even look; it was said.
    is_out_of_sight: bool,
    /// What was warned of, so that it is not said again.
    said: BTreeSet<String>,
}

impl Policy {
    /// Nova's defaults, and no files.
    pub fn defaults() -> Self {
        let options = Options::default();
        let (rules, _) = Rules::compose(&options, Vec::new());
        Self { options, sources: Sources::default(), rules: RwLock::new(rules), seen: Mutex::default() }
    }

    /// The defaults with what the files of `[oslo_policy]` say in their place.
    pub fn load(config: &Config) -> Result<Self, PolicyError> {
        let sources = Sources::from_config(config);
        if let Some(file) = sources.missing() {
            tracing::warn!(file, "the policy file is not there: the defaults hold");
        }
        Self::with(sources::options(config)?, sources)
    }

    /// The defaults with what one file says in their place.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        Self::with(Options::default(), Sources::one(path))
    }

    fn with(options: Options, sources: Sources) -> Result<Self, PolicyError> {
        let stamp = sources.stamp()?;
        let mut seen = Seen { stamp: Some(stamp.clone()), ..Seen::default() };
        let rules = read(&options, &stamp, &mut seen.said)?;
        Ok(Self { options, sources, rules: RwLock::new(rules), seen: Mutex::new(seen) })
    }

    /// Looks at the files once a second until the supervisor shuts down.
    pub fn watch(self: &Arc<Self>, supervisor: &Supervisor) {
        let policy = self.clone();
        supervisor.periodic("policy", WATCH_INTERVAL, move || {
            let policy = policy.clone();
            async move {
                if let Err(error) = tokio::task::spawn_blocking(move || policy.refresh()).await {
                    tracing::error!(%error, "the policy files were not looked at");
                }
            }
        });
    }

    /// Reads the files again if one was changed, is new, or is gone. What cannot be used is logged, and the rules stay.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = match self.sources.stamp() {
            Ok(stamp) => stamp,
            Err(error) if seen.is_out_of_sight => return tracing::debug!(%error, "the policy files are out of sight"),
            Err(error) => {
                seen.is_out_of_sight = true;
                return log(&error);
            }
        };
        seen.is_out_of_sight = false;
        if seen.stamp.as_ref() == Some(&stamp) {
            return;
        }
        seen.stamp = Some(stamp.clone());
        match read(&self.options, &stamp, &mut seen.said) {
            Ok(rules) => {
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
                tracing::info!(files = stamp.len(), "the policy files were read again");
            }
            Err(error) => log(&error),
        }
    }

    /// Whether `rule` lets the caller do it to the target. A rule that is not defined is the default rule, and without
    /// one it denies.
    pub fn is_allowed(&self, rule: &str, context: &RequestContext, target: &dyn Attributes) -> bool {
        self.rules().allows(rule, context, target)
    }

    pub(crate) fn allows(&self, rule: &str, context: &RequestContext, target: Target<'_>) -> bool {
        self.is_allowed(rule, context, &target)
    }

    /// Whether the rule is defined.
    pub fn has(&self, rule: &str) -> bool {
        self.rules().has(rule)
    }

    /// The rules that operations ask, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.rules().names().filter(|name| name.contains(':')).map(str::to_owned).collect();
        names.sort();
        names
    }

    fn rules(&self) -> std::sync::RwLockReadGuard<'_, Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that its author should know about a policy file.
pub fn problems(path: &Path) -> Result<Vec<Problem>, PolicyError> {
    Ok(Rules::compose(&Options::default(), file::read(path)?).1)
}

fn read(options: &Options, stamp: &Stamp, said: &mut BTreeSet<String>) -> Result<Rules, PolicyError> {
    let (rules, problems) = Rules::compose(options, Sources::entries(stamp)?);
    if let Some(problem) = problems.iter().find(|problem| problem.severity == Severity::Error) {
        return Err(problem.into());
    }
    for problem in problems.iter().filter(|problem| said.insert(problem.reason.clone())) {
        let (file, line) = (problem.place.path.display(), problem.place.line);
        tracing::warn!(%file, line, "policy: {}", problem.reason);
    }
    Ok(rules)
}

/// An operator must act: what was written is not what holds.
fn log(error: &PolicyError) {
    const MESSAGE: &str = "the policy files cannot be used: the rules stay as they were";
    match error {
        PolicyError::Line { path, line, reason } => tracing::error!(file = %path.display(), line, reason, "{MESSAGE}"),
        PolicyError::Read { path, source } => tracing::error!(file = %path.display(), error = %source, "{MESSAGE}"),
        PolicyError::Config(error) => tracing::error!(%error, "{MESSAGE}"),
    }
}

#[cfg(test)]
mod tests;
