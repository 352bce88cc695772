//! Nova's policy rules and their defaults, one file per resource.

mod aggregates;
mod base;
pub(crate) mod deprecated;
mod flavors;
mod hosts;
mod keypairs;
mod migrations;
mod network;
mod quotas;
mod server_groups;
mod servers;
mod volumes;

/// Every rule: its name, and its check.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        aggregates::RULES,
        base::RULES,
        flavors::RULES,
        hosts::RULES,
        keypairs::RULES,
        network::RULES,
        migrations::RULES,
        quotas::RULES,
        server_groups::RULES,
        servers::RULES,
        volumes::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Whether a rule is asked for operations, and not only by other rules. Nova lets only callers with the scope of a
/// project ask those.
pub(crate) fn is_of_operations(name: &str) -> bool {
    !base::RULES.iter().any(|(other, _)| *other == name)
}

/// The checks that most rules are.
pub(crate) mod checks {
    pub(crate) const ADMIN: &str = "rule:context_is_admin";
    pub(crate) const MANAGER_OR_ADMIN: &str = "rule:project_manager_or_admin";
    pub(crate) const MEMBER_OR_ADMIN: &str = "rule:project_member_or_admin";
    pub(crate) const READER_OR_ADMIN: &str = "rule:project_reader_or_admin";
    pub(crate) const SERVICE_OR_ADMIN: &str = "rule:service_or_admin";
    pub(crate) const ANY: &str = "@";
}
