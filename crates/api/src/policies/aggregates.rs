//! The rules of host aggregates.

use super::checks::ADMIN;

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-aggregates:index", ADMIN),
    ("os_compute_api:os-aggregates:create", ADMIN),
    ("os_compute_api:os-aggregates:show", ADMIN),
    ("os_compute_api:os-aggregates:update", ADMIN),
    ("os_compute_api:os-aggregates:delete", ADMIN),
    ("os_compute_api:os-aggregates:add_host", ADMIN),
    ("os_compute_api:os-aggregates:remove_host", ADMIN),
    ("os_compute_api:os-aggregates:set_metadata", ADMIN),
    ("compute:aggregates:images", ADMIN),
];
