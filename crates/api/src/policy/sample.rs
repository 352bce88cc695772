//! A policy file with every rule in it, as a comment.

use std::fmt::Write as _;

use crate::policies;
use crate::routes::{ROUTES, Route};

const HEADER: &str = "\
# Who may do what. Every rule is here with its default, as a comment: what is to be otherwise needs no comment sign.
#
#   \"@\" always, \"!\" never, \"role:NAME\", \"rule:OTHER_RULE\", \"project_id:%(project_id)s\" and the like,
#   and, or, not, parentheses
";

/// The text of a policy file that changes nothing: each rule with its default and with the operations that ask it.
pub fn sample() -> String {
    let mut text = HEADER.to_owned();
    for (name, check) in policies::all() {
        text.push('\n');
        // Writing to a string does not fail.
        let _ = operations(name).iter().try_for_each(|operation| writeln!(text, "# {operation}"));
        if policies::is_of_operations(name) {
            text.push_str("# Intended scope(s): project\n");
        }
        let _ = writeln!(text, "#\"{name}\": \"{check}\"");
    }
    text
}

fn operations(name: &str) -> Vec<String> {
    let operations: Vec<_> = ROUTES.iter().filter(|route| route.policy == name).map(operation).collect();
    match operations.is_empty() {
        false => operations,
        true if policies::is_of_operations(name) => vec!["Asked while another operation runs".to_owned()],
        true => vec!["For other rules to refer to".to_owned()],
    }
}

/// `POST  /servers/{id}/action (reboot)`
fn operation(route: &Route) -> String {
    let action = route.action.map_or_else(String::new, |action| format!(" ({action})"));
    format!("{}  {}{action}", route.method.as_str(), route.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::NO_RULE;

    #[test]
    fn the_sample_has_every_rule_and_every_operation() {
        let sample = sample();
        for (name, check) in policies::all() {
            let line = format!("#\"{name}\": \"{check}\"");
            assert_eq!(sample.lines().filter(|other| *other == line).count(), 1, "{name}");
        }
        for route in ROUTES.iter().filter(|route| route.policy != NO_RULE) {
            let line = format!("# {}", operation(route));
            assert!(sample.lines().any(|other| other == line), "{line}");
        }
        let reboot = "# POST  /servers/{id}/action (reboot)\n# Intended scope(s): project\n\
                      #\"os_compute_api:servers:reboot\": \"rule:project_member_or_admin\"\n";
        assert!(sample.contains(reboot), "{sample}");
    }

    #[test]
    fn the_sample_without_comment_signs_says_what_the_defaults_say() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("policy.yaml");
        let rules = sample().replace("\n#\"", "\n\"");
        std::fs::write(&path, rules).unwrap();
        assert_eq!(super::super::problems(&path).unwrap(), []);
        let (entries, names) = (super::super::file::read(&path).unwrap(), policies::all().map(|(name, _)| name));
        assert!(entries.iter().map(|entry| entry.name.as_str()).eq(names));
    }
}
