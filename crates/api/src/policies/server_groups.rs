//! The rules of server groups.

use super::checks::{ADMIN, MEMBER_OR_ADMIN, READER_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-server-groups:create", MEMBER_OR_ADMIN),
    ("os_compute_api:os-server-groups:delete", MEMBER_OR_ADMIN),
    ("os_compute_api:os-server-groups:index", READER_OR_ADMIN),
    ("os_compute_api:os-server-groups:index:all_projects", ADMIN),
    ("os_compute_api:os-server-groups:show", READER_OR_ADMIN),
];
