//! oslo.policy's rule language, as far as Nova's rules use it: `role:x`, `rule:x`, `key:%(target)s`, `and`, `or`,
//! `not`, parentheses, `@` (always) and `!` (never). An unknown rule denies.

use std::collections::HashMap;

use kilonova_core::RequestContext;

use crate::policies;

/// Whose resource it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target<'a> {
    pub project_id: &'a str,
    pub user_id: &'a str,
}

/// The rules of a deployment, parsed.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: HashMap<String, Check>,
}

#[derive(Clone, Debug, PartialEq)]
enum Check {
    Always,
    Never,
    Role(String),
    Rule(String),
    /// A key of the caller's credentials equals a literal, or a key of the target.
    Match(String, Wanted),
    Not(Box<Check>),
    And(Vec<Check>),
    Or(Vec<Check>),
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Literal(String),
    Target(String),
}

impl Policy {
    /// Nova's defaults.
    pub(crate) fn defaults() -> Self {
        let rules = policies::all().map(|(name, text)| (name.to_owned(), parse(text)));
        Self { rules: rules.collect() }
    }

    /// Whether `rule` lets the caller do it to the target.
    pub(crate) fn allows(&self, rule: &str, context: &RequestContext, target: Target<'_>) -> bool {
        self.rules.get(rule).is_some_and(|check| self.check(check, context, target, 0))
    }

    #[cfg(test)]
    pub(crate) fn has(&self, rule: &str) -> bool {
        self.rules.contains_key(rule)
    }

    fn check(&self, check: &Check, context: &RequestContext, target: Target<'_>, depth: u8) -> bool {
        // A rule that refers to itself denies instead of running for ever.
        if depth > 16 {
            return false;
        }
        let inner = |check: &Check| self.check(check, context, target, depth + 1);
        match check {
            Check::Always => true,
            Check::Never => false,
            Check::Role(role) => context.roles.iter().any(|own| own.eq_ignore_ascii_case(role)),
            Check::Rule(name) => self.rules.get(name).is_some_and(inner),
            Check::Match(key, wanted) => matches(key, wanted, context, target),
            Check::Not(check) => !inner(check),
            Check::And(checks) => checks.iter().all(inner),
            Check::Or(checks) => checks.iter().any(inner),
        }
    }
}

fn matches(key: &str, wanted: &Wanted, context: &RequestContext, target: Target<'_>) -> bool {
    let admin = if context.is_admin { "True" } else { "False" };
    let own = match key {
        "project_id" => context.project_id(),
        "user_id" => context.user_id(),
        "is_admin" => admin,
        _ => return false,
    };
    let other = match wanted {
        Wanted::Literal(text) => text,
        Wanted::Target(key) if key == "project_id" => target.project_id,
        Wanted::Target(key) if key == "user_id" => target.user_id,
        Wanted::Target(_) => return false,
    };
    own == other
}

/// Parses a rule; what cannot be read denies.
fn parse(text: &str) -> Check {
    if text.trim().is_empty() {
        return Check::Always;
    }
    let tokens = tokens(text);
    let mut rest = tokens.as_slice();
    match or(&mut rest) {
        Some(check) if rest.is_empty() => check,
        _ => {
            tracing::error!(rule = text, "a policy rule cannot be read, it denies");
            Check::Never
        }
    }
}

/// Words, with the parentheses around them (but not those of `%(key)s`) apart.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n("(".to_owned(), word.len() - inner.len()));
        let bare = inner.trim_end_matches(')');
        if !bare.is_empty() {
            tokens.push(bare.to_owned());
        }
        tokens.extend(std::iter::repeat_n(")".to_owned(), inner.len() - bare.len()));
    }
    tokens
}

fn or(rest: &mut &[String]) -> Option<Check> {
    series(rest, "or", and, Check::Or)
}

fn and(rest: &mut &[String]) -> Option<Check> {
    series(rest, "and", not, Check::And)
}

type Part = fn(&mut &[String]) -> Option<Check>;

fn series(rest: &mut &[String], word: &str, part: Part, join: fn(Vec<Check>) -> Check) -> Option<Check> {
    let first = part(rest)?;
    let mut all = vec![first];
    while rest.first().is_some_and(|token| token.eq_ignore_ascii_case(word)) {
        *rest = &rest[1..];
        all.push(part(rest)?);
    }
    if all.len() == 1 { all.pop() } else { Some(join(all)) }
}

fn not(rest: &mut &[String]) -> Option<Check> {
    let (first, tail) = rest.split_first()?;
    if first.eq_ignore_ascii_case("not") {
        *rest = tail;
        return Some(Check::Not(Box::new(not(rest)?)));
    }
    if first == "(" {
        *rest = tail;
        let check = or(rest)?;
        let (close, tail) = rest.split_first()?;
        *rest = tail;
        return (close == ")").then_some(check);
    }
    *rest = tail;
    leaf(first)
}

fn leaf(token: &str) -> Option<Check> {
    match token {
        "@" => return Some(Check::Always),
        "!" => return Some(Check::Never),
        _ => {}
    }
    let (kind, value) = token.split_once(':')?;
    Some(match kind {
        "role" => Check::Role(value.to_owned()),
        "rule" => Check::Rule(value.to_owned()),
        key => {
            let target = value.strip_prefix("%(").and_then(|rest| rest.strip_suffix(")s"));
            let wanted =
                target.map_or_else(|| Wanted::Literal(value.to_owned()), |target| Wanted::Target(target.to_owned()));
            Check::Match(key.to_owned(), wanted)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, roles: &[&str], project: &str, target: &str) -> bool {
        let policy = Policy {
            rules: [
                ("it".to_owned(), parse(text)),
                ("admin".to_owned(), parse("role:admin")),
                ("loop".to_owned(), parse("rule:loop")),
            ]
            .into(),
        };
        let mut context = RequestContext::new("u", project);
        context.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        policy.allows("it", &context, Target { project_id: target, user_id: "u" })
    }

    #[test]
    fn and_binds_tighter_than_or_and_parentheses_tighter_than_both() {
        assert!(allows("role:a or role:b and role:c", &["a"], "p", "p"));
        assert!(!allows("(role:a or role:b) and role:c", &["a"], "p", "p"));
        assert!(allows("( role:a or role:b ) and not role:c", &["b"], "p", "p"));
    }

    #[test]
    fn a_target_key_is_compared_with_the_callers_own() {
        let rule = "role:member and project_id:%(project_id)s";
        assert!(allows(rule, &["Member"], "p", "p"));
        assert!(!allows(rule, &["member"], "p", "other"));
        assert!(!allows(rule, &["reader"], "p", "p"));
    }

    #[test]
    fn unknown_rules_unreadable_rules_and_loops_deny() {
        for rule in ["rule:nothing", "role:a and", "(role:a", "role:a role:a", "rule:loop", "colour:blue"] {
            assert!(!allows(rule, &["a"], "p", "p"), "{rule}");
        }
        assert!(allows("", &[], "p", "p"));
        assert!(allows("@", &[], "p", "p"));
        assert!(!allows("!", &["admin"], "p", "p"));
    }

    #[test]
    fn every_default_rule_can_be_read_and_refers_to_rules_that_exist() {
        let policy = Policy::defaults();
        for (name, text) in policies::all() {
            assert!(policy.rules[name] != Check::Never || text == "!", "{name}: {text}");
            for token in tokens(text).iter().filter_map(|token| token.strip_prefix("rule:")) {
                assert!(policy.has(token), "{name} refers to {token}");
            }
        }
    }
}
