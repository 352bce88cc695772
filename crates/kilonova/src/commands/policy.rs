//! `kilonova policy`: what oslopolicy-sample-generator, oslopolicy-checker and oslopolicy-validator do for Nova.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use kilonova_api::Policy;
use kilonova_api::policy::{Severity, problems, sample};
use kilonova_core::RequestContext;
use serde::Deserialize;

use crate::process::Options;

/// Options of `kilonova policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints a policy.yaml with every rule, its default and its operations, as comments.
    Sample,
    /// Says which rules let a caller through: those of the configuration, or of one file.
    Check(Box<Check>),
    /// Looks for rules that cannot be read, names that nobody knows and rules that refer to themselves. Fails if it
    /// finds any.
    Validate {
        /// The policy file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    options: Options,
    /// This policy file and no other.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The caller: what Keystone answers to who asks about a token, as JSON.
    #[arg(long, value_name = "FILE", required_unless_present = "role")]
    access: Option<PathBuf>,
    /// The caller: a role; may be given more than once. Roles that it implies must be given too.
    #[arg(long, value_name = "NAME", conflicts_with = "access")]
    role: Vec<String>,
    /// The caller's project.
    #[arg(long, value_name = "ID", default_value = "project", conflicts_with = "access")]
    project_id: String,
    /// The caller.
    #[arg(long, value_name = "ID", default_value = "user", conflicts_with = "access")]
    user_id: String,
    /// Only this rule; may be given more than once.
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// An attribute of the resource; without any, it is the caller's own.
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    target: Vec<(String, String)>,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl PolicyCommand {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Sample => print(&sample()),
            What::Check(check) => print(&check.answers()?),
            What::Validate { file } => validate(file),
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("stdout is closed")
}

fn validate(file: &Path) -> anyhow::Result<()> {
    let problems = problems(file).with_context(|| format!("{} cannot be used", file.display()))?;
    for problem in &problems {
        print(&format!("{problem}\n"))?;
    }
    match problems.iter().filter(|problem| problem.severity != Severity::Note).count() {
        0 => Ok(()),
        1 => bail!("{} has a problem", file.display()),
        count => bail!("{} has {count} problems", file.display()),
    }
}

impl Check {
    /// A line for each rule.
    fn answers(&self) -> anyhow::Result<String> {
        let policy = match &self.policy {
            Some(file) => Policy::from_file(file),
            None => Policy::load(&self.options.load()?),
        }?;
        let mut caller = self.caller()?;
        let own = [("project_id", caller.project_id()), ("user_id", caller.user_id())];
        let own: BTreeMap<_, _> = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        caller.is_admin = policy.is_allowed("context_is_admin", &caller, &own);
        let target = if self.target.is_empty() { own } else { self.target.iter().cloned().collect() };
        if let Some(unknown) = self.rule.iter().find(|rule| !policy.has(rule)) {
            bail!("{unknown} is not a rule");
        }
        let rules = if self.rule.is_empty() { policy.names() } else { self.rule.clone() };
        let answer = |rule: &String| match policy.is_allowed(rule, &caller, &target) {
            true => format!("passed: {rule}\n"),
            false => format!("failed: {rule}\n"),
        };
        Ok(rules.iter().map(answer).collect())
    }

    fn caller(&self) -> anyhow::Result<RequestContext> {
        match &self.access {
            Some(file) => {
                let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let access: Access = serde_json::from_slice(&text)
                    .with_context(|| format!("{} does not say what a token is", file.display()))?;
                Ok(access.token.into())
            }
            None => {
                Ok(RequestContext { roles: self.role.clone(), ..RequestContext::new(&self.user_id, &self.project_id) })
            }
        }
    }
}

/// What `GET /v3/auth/tokens` answers, as far as rules can ask about it.
#[derive(Debug, Deserialize)]
struct Access {
    token: Token,
}

#[derive(Debug, Deserialize)]
struct Token {
    user: Named,
    #[serde(default)]
    roles: Vec<Role>,
    project: Option<Named>,
    domain: Option<Domain>,
    system: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: String,
    domain: Option<Domain>,
}

#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Role {
    name: String,
}

impl From<Token> for RequestContext {
    fn from(token: Token) -> Self {
        let Token { user, roles, project, domain, system } = token;
        let (project_id, project_domain) = project.map(|project| (project.id, project.domain)).unzip();
        Self {
            project: project_id.clone(),
            project_id,
            user_domain: user.domain.map(|domain| domain.id),
            project_domain: project_domain.flatten().map(|domain| domain.id),
            domain: domain.map(|domain| domain.id),
            system_scope: system.map(|_| "all".to_owned()),
            roles: roles.into_iter().map(|role| role.name).collect(),
            ..Self::new(&user.id, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        command: PolicyCommand,
    }

    fn check(words: &[&str]) -> anyhow::Result<String> {
        let words = Words::try_parse_from(["policy", "check"].iter().chain(words))?;
        match words.command.what {
            What::Check(check) => check.answers(),
            other => panic!("{other:?}"),
        }
    }

    fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    const LOCK: &str = "os_compute_api:os-lock-server:lock";

    #[test]
    fn a_caller_is_made_of_roles_or_of_a_token() {
        let dir = TempDir::new().unwrap();
        let policy = file(&dir, "policy.yaml", &format!("{LOCK}: \"role:operator and 'x':%(target.kind)s\"\n"));
        let ask = |words: &[&str]| check(&[&["--policy", policy.to_str().unwrap(), "--rule", LOCK], words].concat());
        assert_eq!(ask(&["--role=operator"]).unwrap(), format!("failed: {LOCK}\n"));
        assert_eq!(ask(&["--role=operator", "--target=target.kind=x"]).unwrap(), format!("passed: {LOCK}\n"));
        let token = r#"{"token": {"user": {"id": "u", "domain": {"id": "d"}}, "roles": [{"name": "operator"}],
                                  "project": {"id": "p", "domain": {"id": "d"}}}}"#;
        let access = file(&dir, "access.json", token);
        let access = ["--access", access.to_str().unwrap(), "--target=target.kind=x"];
        assert_eq!(ask(&access).unwrap(), format!("passed: {LOCK}\n"));
        let system = file(&dir, "system.json", &token.replace("\"project\"", "\"system\": {\"all\": true}, \"x\""));
        let access = ["--access", system.to_str().unwrap(), "--target=target.kind=x"];
        assert_eq!(ask(&access).unwrap(), format!("failed: {LOCK}\n"));
        assert!(check(&["--role=a", "--rule=nothing"]).is_err());
        assert!(check(&[]).is_err());
    }

    #[test]
    fn without_a_rule_all_that_operations_ask_are_answered() {
        let dir = TempDir::new().unwrap();
        let conf = file(&dir, "nova.conf", "");
        let ask = |role: &str| check(&["--config-file", conf.to_str().unwrap(), "--role", role]).unwrap();
        assert!(ask("admin").contains("passed: os_compute_api:os-services:list\n"));
        let reader = ask("reader");
        assert!(reader.contains("passed: os_compute_api:servers:show\n"), "{reader}");
        assert!(reader.contains("failed: os_compute_api:servers:create\n"), "{reader}");
    }

    #[test]
    fn only_problems_fail_the_validation() {
        let dir = TempDir::new().unwrap();
        let good = format!("{LOCK}: 'rule:ours'\nours: 'role:x'\nos_compute_api:os-services: 'role:x'\n");
        assert!(validate(&file(&dir, "good.yaml", &good)).is_ok());
        for text in ["a:\n", "os_compute_api:nothing: '@'\n", "context_is_admin: 'rule:project_member_or_admin'\n"] {
            assert!(validate(&file(&dir, "bad.yaml", text)).is_err(), "{text}");
        }
        assert!(validate(&dir.path().join("none.yaml")).is_err());
    }
}
