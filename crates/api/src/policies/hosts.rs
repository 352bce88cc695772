//! The rules of what a cloud consists of: services, hypervisors, availability zones; and of what the API can do.

use super::checks::{ADMIN, ANY};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-availability-zone:list", ANY),
    ("os_compute_api:os-availability-zone:detail", ADMIN),
    ("os_compute_api:os-hypervisors:list", ADMIN),
    ("os_compute_api:os-hypervisors:list-detail", ADMIN),
    ("os_compute_api:os-hypervisors:show", ADMIN),
    ("os_compute_api:os-hypervisors:statistics", ADMIN),
    ("os_compute_api:os-hypervisors:uptime", ADMIN),
    ("os_compute_api:os-hypervisors:search", ADMIN),
    ("os_compute_api:os-hypervisors:servers", ADMIN),
    ("os_compute_api:os-services:list", ADMIN),
    ("os_compute_api:os-services:update", ADMIN),
    ("os_compute_api:os-services:delete", ADMIN),
    ("os_compute_api:extensions", ANY),
];
