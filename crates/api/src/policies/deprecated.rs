//! What the defaults were called, and what they were, before Nova 21.0.0. Used for files from then, and where
//! `[oslo_policy] enforce_new_defaults` is off.

const WAS_ADMIN: &str = "rule:admin_api";
const WAS_OWNER: &str = "rule:admin_or_owner";

/// An old name, its old default, and the rules that took its place.
pub(crate) const RENAMED: &[(&str, &str, &[&str])] = &[
    (
        "os_compute_api:os-attach-interfaces",
        WAS_OWNER,
        &[
            "os_compute_api:os-attach-interfaces:list",
            "os_compute_api:os-attach-interfaces:show",
            "os_compute_api:os-attach-interfaces:create",
            "os_compute_api:os-attach-interfaces:delete",
        ],
    ),
    (
        "os_compute_api:os-floating-ips",
        WAS_OWNER,
        &[
            "os_compute_api:os-floating-ips:add",
            "os_compute_api:os-floating-ips:remove",
            "os_compute_api:os-floating-ips:list",
            "os_compute_api:os-floating-ips:create",
            "os_compute_api:os-floating-ips:show",
            "os_compute_api:os-floating-ips:delete",
        ],
    ),
    (
        "os_compute_api:os-deferred-delete",
        WAS_OWNER,
        &["os_compute_api:os-deferred-delete:restore", "os_compute_api:os-deferred-delete:force"],
    ),
    ("os_compute_api:os-rescue", WAS_OWNER, &["os_compute_api:os-unrescue"]),
    (
        "os_compute_api:os-server-password",
        WAS_OWNER,
        &["os_compute_api:os-server-password:show", "os_compute_api:os-server-password:clear"],
    ),
    ("os_compute_api:os-flavor-extra-specs:index", WAS_OWNER, &["os_compute_api:servers:show:flavor-extra-specs"]),
    (
        "os_compute_api:os-hosts",
        WAS_ADMIN,
        &[
            "os_compute_api:os-hosts:list",
            "os_compute_api:os-hosts:show",
            "os_compute_api:os-hosts:update",
            "os_compute_api:os-hosts:reboot",
            "os_compute_api:os-hosts:shutdown",
            "os_compute_api:os-hosts:start",
        ],
    ),
    (
        "os_compute_api:os-baremetal-nodes",
        WAS_ADMIN,
        &["os_compute_api:os-baremetal-nodes:list", "os_compute_api:os-baremetal-nodes:show"],
    ),
    (
        "os_compute_api:os-instance-usage-audit-log",
        WAS_ADMIN,
        &["os_compute_api:os-instance-usage-audit-log:list", "os_compute_api:os-instance-usage-audit-log:show"],
    ),
    (
        "os_compute_api:os-hypervisors",
        WAS_ADMIN,
        &[
            "os_compute_api:os-hypervisors:list",
            "os_compute_api:os-hypervisors:list-detail",
            "os_compute_api:os-hypervisors:show",
            "os_compute_api:os-hypervisors:statistics",
            "os_compute_api:os-hypervisors:uptime",
            "os_compute_api:os-hypervisors:search",
            "os_compute_api:os-hypervisors:servers",
        ],
    ),
    (
        "os_compute_api:os-instance-actions",
        WAS_OWNER,
        &["os_compute_api:os-instance-actions:list", "os_compute_api:os-instance-actions:show"],
    ),
    ("os_compute_api:os-multinic", WAS_OWNER, &["os_compute_api:os-multinic:add", "os_compute_api:os-multinic:remove"]),
    (
        "os_compute_api:os-networks:view",
        WAS_OWNER,
        &["os_compute_api:os-networks:list", "os_compute_api:os-networks:show"],
    ),
    (
        "os_compute_api:os-security-groups",
        WAS_OWNER,
        &[
            "os_compute_api:os-security-groups:list",
            "os_compute_api:os-security-groups:get",
            "os_compute_api:os-security-groups:show",
            "os_compute_api:os-security-groups:create",
            "os_compute_api:os-security-groups:update",
            "os_compute_api:os-security-groups:delete",
            "os_compute_api:os-security-groups:rule:create",
            "os_compute_api:os-security-groups:rule:delete",
            "os_compute_api:os-security-groups:add",
            "os_compute_api:os-security-groups:remove",
        ],
    ),
    (
        "os_compute_api:os-services",
        WAS_ADMIN,
        &["os_compute_api:os-services:list", "os_compute_api:os-services:update", "os_compute_api:os-services:delete"],
    ),
    (
        "os_compute_api:os-tenant-networks",
        WAS_OWNER,
        &["os_compute_api:os-tenant-networks:list", "os_compute_api:os-tenant-networks:show"],
    ),
    (
        "os_compute_api:os-volumes",
        WAS_OWNER,
        &[
            "os_compute_api:os-volumes:list",
            "os_compute_api:os-volumes:create",
            "os_compute_api:os-volumes:detail",
            "os_compute_api:os-volumes:show",
            "os_compute_api:os-volumes:delete",
            "os_compute_api:os-volumes:snapshots:list",
            "os_compute_api:os-volumes:snapshots:create",
            "os_compute_api:os-volumes:snapshots:detail",
            "os_compute_api:os-volumes:snapshots:show",
            "os_compute_api:os-volumes:snapshots:delete",
        ],
    ),
    ("os_compute_api:os-used-limits", WAS_ADMIN, &["os_compute_api:limits:other_project"]),
];

/// Rules that let more callers through by their old default.
pub(crate) const WIDENED: &[(&str, &str)] = &[
    ("context_is_admin", "is_admin:True"),
    ("project_manager_api", "is_admin:True"),
    ("project_member_api", "is_admin:True or project_id:%(project_id)s"),
    ("project_reader_api", "is_admin:True or project_id:%(project_id)s"),
    ("service_api", "is_admin:True"),
    ("project_manager_or_admin", "is_admin:True"),
    ("project_member_or_admin", "is_admin:True or project_id:%(project_id)s"),
    ("project_reader_or_admin", "is_admin:True or project_id:%(project_id)s"),
    ("service_or_admin", "is_admin:True"),
];
