//! The rules of limits, quotas and usage.

use super::checks::{ADMIN, ANY, READER_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:limits", ANY),
    ("os_compute_api:limits:other_project", ADMIN),
    ("os_compute_api:os-quota-sets:show", READER_OR_ADMIN),
    ("os_compute_api:os-quota-sets:detail", READER_OR_ADMIN),
    ("os_compute_api:os-quota-sets:defaults", ANY),
    ("os_compute_api:os-quota-sets:update", ADMIN),
    ("os_compute_api:os-quota-sets:delete", ADMIN),
    ("os_compute_api:os-quota-class-sets:show", ADMIN),
    ("os_compute_api:os-quota-class-sets:update", ADMIN),
    ("os_compute_api:os-simple-tenant-usage:list", ADMIN),
    ("os_compute_api:os-simple-tenant-usage:show", READER_OR_ADMIN),
];
