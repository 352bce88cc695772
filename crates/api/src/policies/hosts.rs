//! The rules of what a cloud consists of: services, hosts, hypervisors, availability zones; and of what the API can do.

use super::checks::{ADMIN, ANY, SERVICE_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-availability-zone:list", ANY),
    ("os_compute_api:os-availability-zone:detail", ADMIN),
    ("os_compute_api:os-hosts:list", ADMIN),
    ("os_compute_api:os-hosts:show", ADMIN),
    ("os_compute_api:os-hosts:update", ADMIN),
    ("os_compute_api:os-hosts:reboot", ADMIN),
    ("os_compute_api:os-hosts:shutdown", ADMIN),
    ("os_compute_api:os-hosts:start", ADMIN),
    ("os_compute_api:os-baremetal-nodes:list", ADMIN),
    ("os_compute_api:os-baremetal-nodes:show", ADMIN),
    ("os_compute_api:os-instance-usage-audit-log:list", ADMIN),
    ("os_compute_api:os-instance-usage-audit-log:show", ADMIN),
    ("os_compute_api:os-assisted-volume-snapshots:create", SERVICE_OR_ADMIN),
    ("os_compute_api:os-assisted-volume-snapshots:delete", SERVICE_OR_ADMIN),
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
