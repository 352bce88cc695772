//! The rules of flavors, their extra specs and their access lists. Nova has no rule for looking at flavors: everybody
//! may, and sees those that the project has access to.

use super::checks::{ADMIN, ANY, READER_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:flavors:index", ANY),
    ("os_compute_api:flavors:detail", ANY),
    ("os_compute_api:flavors:show", ANY),
    ("os_compute_api:os-flavor-manage:create", ADMIN),
    ("os_compute_api:os-flavor-manage:update", ADMIN),
    ("os_compute_api:os-flavor-manage:delete", ADMIN),
    ("os_compute_api:os-flavor-access", ADMIN),
    ("os_compute_api:os-flavor-access:add_tenant_access", ADMIN),
    ("os_compute_api:os-flavor-access:remove_tenant_access", ADMIN),
    ("os_compute_api:os-flavor-extra-specs:index", READER_OR_ADMIN),
    ("os_compute_api:os-flavor-extra-specs:show", READER_OR_ADMIN),
    ("os_compute_api:os-flavor-extra-specs:create", ADMIN),
    ("os_compute_api:os-flavor-extra-specs:update", ADMIN),
    ("os_compute_api:os-flavor-extra-specs:delete", ADMIN),
];
