//! The rules of key pairs, which belong to users and not to projects.

const ADMIN_OR_OWN_USER: &str = "(rule:context_is_admin) or user_id:%(user_id)s";

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-keypairs:index", ADMIN_OR_OWN_USER),
    ("os_compute_api:os-keypairs:show", ADMIN_OR_OWN_USER),
    ("os_compute_api:os-keypairs:create", ADMIN_OR_OWN_USER),
    ("os_compute_api:os-keypairs:delete", ADMIN_OR_OWN_USER),
];
