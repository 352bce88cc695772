//! The rules of a deployment: Nova's defaults with what the files say in their place, and how they are asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use kilonova_core::RequestContext;

use super::file::{Entry, Place};
use super::language::{Check, Match, Piece, Text, parse};
use super::{Attributes, PolicyError};
use crate::policies;

/// What `[oslo_policy]` says about all rules.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Asked in the place of a rule that is not defined.
    pub default_rule: String,
    /// Only a caller with the scope of a project may do anything.
    pub enforce_scope: bool,
    /// Off: who the defaults of Nova 20 let through is let through too.
    pub enforce_new_defaults: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { default_rule: "default".to_owned(), enforce_scope: true, enforce_new_defaults: true }
    }
}

/// All rules, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Rules {
    checks: HashMap<String, Check>,
    default_rule: String,
    enforce_scope: bool,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but not all of it can be meant.
    Warning,
    /// It does what it says, and should say it otherwise.
    Note,
}

/// Something about a rule that its author should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    pub(super) place: Place,
    pub(super) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.path.display(), self.place.line, self.reason)
    }
}

impl From<&Problem> for PolicyError {
    fn from(problem: &Problem) -> Self {
        problem.place.error(&problem.reason)
    }
}

impl Rules {
    /// The defaults with `entries` in their place, the last of a name counting. With problems of which one is an
    /// [`Severity::Error`], the rules must not be used.
    pub(super) fn compose(options: &Options, entries: Vec<Entry>) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut places = BTreeMap::new();
        let mut overrides = HashMap::new();
        for Entry { name, place, check } in entries {
            if places.insert(name.clone(), place.clone()).is_some_and(|earlier| earlier.path == place.path) {
                problems.push(problem(Severity::Warning, &place, format!("{name} is given twice: this one counts")));
            }
            match check {
                Ok(check) => drop(overrides.insert(name, check)),
                Err(error) => problems.push(problem(Severity::Error, &place, format!("{name}: {error}"))),
            }
        }
        let mut checks: HashMap<_, _> = policies::all().map(|(name, text)| (name.to_owned(), default(text))).collect();
        apply_old_names(&mut checks, &overrides, options.enforce_new_defaults);
        checks.extend(overrides);
        let default_rule = options.default_rule.clone();
        let rules = Self { checks, default_rule, enforce_scope: options.enforce_scope };
        problems.extend(rules.problems(&places));
        problems.sort_by(|one, other| (&one.place.path, one.place.line).cmp(&(&other.place.path, other.place.line)));
        (rules, problems)
    }

    fn problems(&self, places: &BTreeMap<String, Place>) -> Vec<Problem> {
        let referred: BTreeSet<_> = self.checks.values().flat_map(Check::references).collect();
        let mut problems = Vec::new();
        for (name, place) in places {
            let mut note = |severity, reason| problems.push(problem(severity, place, reason));
            if let Some(new_names) = renamed(name) {
                note(Severity::Note, format!("{name} is the old name of {}", new_names.join(", ")));
            } else if !is_default(name) && !referred.contains(name.as_str()) && *name != self.default_rule {
                note(Severity::Warning, format!("{name} is not a rule of this API"));
            }
            let Some(check) = self.checks.get(name) else { continue };
            for missing in check.references().into_iter().filter(|other| !self.checks.contains_key(*other)) {
                note(Severity::Warning, format!("{name} refers to {missing}, which is not defined"));
            }
            if let Some(circle) = self.circle(name) {
                note(Severity::Error, format!("{name} refers to itself: {}", circle.join(" -> ")));
            }
        }
        problems
    }

    /// A way from a rule back to it.
    fn circle<'a>(&'a self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut came_from = HashMap::new();
        let mut open = vec![name];
        while let Some(from) = open.pop() {
            let next = self.checks.get(from).map(Check::references).unwrap_or_default();
            for to in next.into_iter().map(|to| self.defined(to)) {
                if to == name {
                    let back = std::iter::successors(Some(from), |at| came_from.get(at).copied());
                    let mut circle: Vec<_> = std::iter::once(name).chain(back).collect();
                    circle.reverse();
                    return Some(circle);
                }
                if came_from.insert(to, from).is_none() {
                    open.push(to);
                }
            }
        }
        None
    }

    /// The name of the rule that stands for `name`.
    fn defined<'a>(&'a self, name: &'a str) -> &'a str {
        if self.checks.contains_key(name) { name } else { &self.default_rule }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.checks.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.checks.keys().map(String::as_str)
    }

    /// Whether `rule` lets the caller do it to the target.
    pub(super) fn allows(&self, rule: &str, context: &RequestContext, target: &dyn Attributes) -> bool {
        let is_of_project = context.system_scope.is_none() && context.domain.is_none();
        let is_in_scope =
            is_of_project || !self.enforce_scope || !is_default(rule) || !policies::is_of_operations(rule);
        is_in_scope && self.rule_allows(rule, context, target)
    }

    fn rule_allows(&self, rule: &str, context: &RequestContext, target: &dyn Attributes) -> bool {
        self.checks.get(self.defined(rule)).is_some_and(|check| self.check(check, context, target))
    }

    fn check(&self, check: &Check, context: &RequestContext, target: &dyn Attributes) -> bool {
        let inner = |check: &Check| self.check(check, context, target);
        match check {
            Check::Always => true,
            Check::Never => false,
            Check::Role(role) => fill(role, target)
                .is_some_and(|role| context.roles.iter().any(|own| own.to_lowercase() == role.to_lowercase())),
            Check::Rule(name) => self.rule_allows(name, context, target),
            Check::IsAdmin(expected) => context.is_admin == *expected,
            Check::Match(wanted) => matches(wanted, context, target),
            Check::Not(check) => !inner(check),
            Check::And(checks) => checks.iter().all(inner),
            Check::Or(checks) => checks.iter().any(inner),
        }
    }
}

fn problem(severity: Severity, place: &Place, reason: String) -> Problem {
    Problem { severity, place: place.clone(), reason }
}

/// A check out of our own tables, which a test reads all of.
fn default(text: &str) -> Check {
    parse(text).unwrap_or(Check::Never)
}

fn is_default(name: &str) -> bool {
    policies::all().any(|(other, _)| other == name)
}

/// The rules that took the place of one that is no more.
fn renamed(name: &str) -> Option<&'static [&'static str]> {
    let found = policies::deprecated::RENAMED.iter().find(|(old, ..)| *old == name && !is_default(old));
    found.map(|(_, _, new_names)| *new_names)
}

/// What a file says under an old name holds for the new ones that it does not have. What it does not speak of lets
/// through whom the old default did, where that is wanted.
fn apply_old_names(
    checks: &mut HashMap<String, Check>,
    overrides: &HashMap<String, Check>,
    enforce_new_defaults: bool,
) {
    let widen = |checks: &mut HashMap<String, Check>, name: &str, old: &str| {
        if let Some(check) = checks.get_mut(name).filter(|_| !enforce_new_defaults) {
            *check = Check::Or(vec![check.clone(), default(old)]);
        }
    };
    for &(name, old) in policies::deprecated::WIDENED {
        widen(checks, name, old);
    }
    for &(old_name, old, new_names) in policies::deprecated::RENAMED {
        for &name in new_names {
            match overrides.get(old_name) {
                Some(check) if *check != default(old) && *check != Check::Rule(name.to_owned()) => {
                    checks.insert(name.to_owned(), check.clone());
                }
                _ => widen(checks, name, old),
            }
        }
    }
}

fn fill<'a>(text: &'a Text, target: &'a dyn Attributes) -> Option<Cow<'a, str>> {
    let piece = |piece: &'a Piece| match piece {
        Piece::Plain(text) => Some(text.as_str()),
        Piece::Attribute(name) => target.attribute(name),
    };
    match text.0.as_slice() {
        [only] => piece(only).map(Cow::Borrowed),
        pieces => pieces.iter().map(piece).collect::<Option<String>>().map(Cow::Owned),
    }
}

fn matches(check: &Match, context: &RequestContext, target: &dyn Attributes) -> bool {
    let Some(wanted) = fill(&check.wanted, target) else {
        return false;
    };
    match &check.literal {
        Some(literal) => *literal == wanted,
        None => has(context, &check.kind, &wanted),
    }
}

/// Whether one of oslo.context's policy values is, or as a list has, a text. What the caller does not have is Python's
/// `None`.
fn has(context: &RequestContext, key: &str, wanted: &str) -> bool {
    let value = match key {
        "roles" => return context.roles.iter().any(|role| role == wanted),
        "is_admin_project" => return wanted == if context.is_admin_project { "True" } else { "False" },
        "project_id" => &context.project_id,
        "user_id" => &context.user_id,
        "system_scope" => &context.system_scope,
        "domain_id" => &context.domain,
        "user_domain_id" => &context.user_domain,
        "project_domain_id" => &context.project_domain,
        "service_user_id" | "service_user_domain_id" | "service_project_id" | "service_project_domain_id" => &None,
        _ => return false,
    };
    value.as_deref().unwrap_or("None") == wanted
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn entry(name: &str, text: &str, line: usize) -> Entry {
        let place = Place { path: Path::new("policy.yaml").to_owned(), line };
        Entry { name: name.to_owned(), place, check: parse(text) }
    }

    fn compose(options: &Options, rules: &[(&str, &str)]) -> (Rules, Vec<(Severity, String)>) {
        let entries = rules.iter().zip(1..).map(|((name, text), line)| entry(name, text, line)).collect();
        let (rules, problems) = Rules::compose(options, entries);
        (rules, problems.into_iter().map(|problem| (problem.severity, problem.to_string())).collect())
    }

    fn caller(roles: &[&str]) -> RequestContext {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        RequestContext { roles, user_domain: Some("d".to_owned()), ..RequestContext::new("u", "p") }
    }

    fn target() -> BTreeMap<String, String> {
        [("project_id", "p"), ("user_id", "other"), ("target.flavor.name", "big"), ("role", "a")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn allows(text: &str) -> bool {
        let (rules, _) = compose(&Options::default(), &[("it", text), ("admins", "role:admin"), ("mine", "rule:it")]);
        rules.allows("it", &caller(&["A", "b"]), &target())
    }

    #[test]
    fn checks_compare_what_the_caller_has_with_what_the_target_is() {
        for (text, expected) in [
            ("@", true),
            ("!", false),
            ("", true),
            ("role:a and role:B", true),
            ("role:a and not role:b", false),
            ("role:%(role)s", true),
            ("roles:A", true),
            ("roles:a", false),
            ("project_id:%(project_id)s", true),
            ("user_id:%(user_id)s", false),
            ("user_id:%(nothing)s", false),
            ("not user_id:%(nothing)s", true),
            ("user_domain_id:d", true),
            ("system_scope:all", false),
            ("domain_id:None", true),
            ("'big':%(target.flavor.name)s", true),
            ("'very-big':very-%(target.flavor.name)s", true),
            ("True:False", false),
            ("is_admin:False", true),
            ("is_admin:True", false),
            ("rule:admins", false),
            ("rule:nothing", false),
            ("colour:blue", false),
        ] {
            assert_eq!(allows(text), expected, "{text}");
        }
    }

    #[test]
    fn an_undefined_rule_is_the_default_rule_where_there_is_one() {
        let ask = |default_rule: &str, rules: &[(&str, &str)]| {
            let options = Options { default_rule: default_rule.to_owned(), ..Options::default() };
            compose(&options, rules).0.allows("it:none", &caller(&["a"]), &target())
        };
        assert!(!ask("default", &[]));
        assert!(ask("default", &[("default", "role:a")]));
        assert!(!ask("mine", &[("default", "role:a")]));
        assert!(ask("mine", &[("mine", "rule:also"), ("also", "role:a")]));
    }

    #[test]
    fn a_circle_is_an_error_also_through_the_default_rule() {
        let (_, problems) = compose(&Options::default(), &[("x", "not rule:y"), ("y", "role:a or rule:x")]);
        let expected = |text: &str| (Severity::Error, text.to_owned());
        assert_eq!(
            problems,
            [
                expected("policy.yaml:1: x refers to itself: x -> y -> x"),
                expected("policy.yaml:2: y refers to itself: y -> x -> y")
            ]
        );
        let (_, problems) = compose(&Options::default(), &[("default", "rule:nothing")]);
        assert_eq!(problems[1], expected("policy.yaml:1: default refers to itself: default -> default"));
        let (_, problems) = compose(&Options::default(), &[("context_is_admin", "rule:admin_or_owner")]);
        assert_eq!(problems, []);
    }

    #[test]
    fn unknown_old_and_repeated_names_are_told() {
        let (_, problems) = compose(
            &Options::default(),
            &[
                ("os_compute_api:no-such-thing", "@"),
                ("os_compute_api:servers:show", "rule:mine or rule:gone"),
                ("mine", "role:mine"),
                ("os_compute_api:os-instance-actions", "role:a"),
                ("mine", "role:ours"),
                ("os_compute_api:limits", "admin"),
            ],
        );
        let found = |severity, text: &str| (severity, format!("policy.yaml:{text}"));
        assert_eq!(
            problems,
            [
                found(Severity::Warning, "1: os_compute_api:no-such-thing is not a rule of this API"),
                found(Severity::Warning, "2: os_compute_api:servers:show refers to gone, which is not defined"),
                found(
                    Severity::Note,
                    "4: os_compute_api:os-instance-actions is the old name of \
                     os_compute_api:os-instance-actions:list, os_compute_api:os-instance-actions:show"
                ),
                found(Severity::Warning, "5: mine is given twice: this one counts"),
                found(Severity::Error, "6: os_compute_api:limits: \"admin\" is not a check: it has no colon"),
            ]
        );
    }

    #[test]
    fn an_old_name_holds_for_new_ones_that_the_file_does_not_have() {
        let (list, show) = ("os_compute_api:os-instance-actions:list", "os_compute_api:os-instance-actions:show");
        let ask = |rules: &[(&str, &str)], name: &str| {
            compose(&Options::default(), rules).0.allows(name, &caller(&["a"]), &target())
        };
        let old = ("os_compute_api:os-instance-actions", "role:a");
        assert!(ask(&[old], list) && ask(&[old], show));
        assert!(!ask(&[old, (list, "!")], list) && ask(&[old, (list, "!")], show));
        assert!(!ask(&[("os_compute_api:os-instance-actions", "rule:admin_or_owner")], list));
    }

    #[test]
    fn old_defaults_let_the_owner_through_without_a_role() {
        let ask = |enforce_new_defaults, rules: &[(&str, &str)]| {
            let options = Options { enforce_new_defaults, ..Options::default() };
            compose(&options, rules).0.allows("os_compute_api:servers:show", &caller(&[]), &target())
        };
        assert!(!ask(true, &[]));
        assert!(ask(false, &[]));
        assert!(!ask(false, &[("project_reader_or_admin", "role:reader")]));
    }

    #[test]
    fn operations_are_for_callers_with_the_scope_of_a_project() {
        let system = RequestContext { system_scope: Some("all".to_owned()), ..caller(&["admin"]) };
        let ask = |enforce_scope, rule: &str| {
            compose(&Options { enforce_scope, ..Options::default() }, &[]).0.allows(rule, &system, &target())
        };
        assert!(!ask(true, "os_compute_api:servers:index"));
        assert!(ask(false, "os_compute_api:servers:index"));
        assert!(ask(true, "context_is_admin"));
    }

    #[test]
    fn every_default_can_be_read_and_refers_to_rules_that_exist() {
        let old = policies::deprecated::RENAMED.iter().map(|(name, check, _)| (*name, *check));
        let texts = policies::all().chain(policies::deprecated::WIDENED.iter().copied()).chain(old);
        for (name, text) in texts {
            let check = parse(text).unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
            for other in check.references() {
                assert!(is_default(other), "{name} refers to {other}");
            }
        }
        let new_names = policies::deprecated::RENAMED.iter().flat_map(|(_, _, names)| *names).copied();
        for name in new_names.chain(policies::deprecated::WIDENED.iter().map(|(name, _)| *name)) {
            assert!(is_default(name), "{name}");
        }
    }
}
