//! The rules of moves between hosts and of their records.

use super::checks::{ADMIN, MANAGER_OR_ADMIN, MEMBER_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:servers:resize", MEMBER_OR_ADMIN),
    ("os_compute_api:servers:confirm_resize", MEMBER_OR_ADMIN),
    ("os_compute_api:servers:revert_resize", MEMBER_OR_ADMIN),
    ("os_compute_api:os-migrate-server:migrate", MANAGER_OR_ADMIN),
    ("os_compute_api:os-migrate-server:migrate:host", ADMIN),
    ("os_compute_api:os-migrate-server:migrate_live", MANAGER_OR_ADMIN),
    ("os_compute_api:os-migrate-server:migrate_live:host", ADMIN),
    ("os_compute_api:os-evacuate", ADMIN),
    ("os_compute_api:os-migrations:index", MANAGER_OR_ADMIN),
    ("os_compute_api:os-migrations:index:all_projects", ADMIN),
    ("os_compute_api:os-migrations:index:host", ADMIN),
    ("os_compute_api:servers:migrations:show", ADMIN),
    ("os_compute_api:servers:migrations:force_complete", MANAGER_OR_ADMIN),
    ("os_compute_api:servers:migrations:delete", MANAGER_OR_ADMIN),
    ("os_compute_api:servers:migrations:index", MANAGER_OR_ADMIN),
    ("os_compute_api:servers:migrations:index:host", ADMIN),
];
