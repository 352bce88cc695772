//! The rules of volumes: what is the volume service's, and who has them.

use super::checks::{MEMBER_OR_ADMIN, READER_OR_ADMIN, SERVICE_OR_ADMIN};

pub(super) const RULES: &[(&str, &str)] = &[
    ("os_compute_api:os-volumes:list", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:create", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes:detail", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:show", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:delete", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes:snapshots:list", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:snapshots:create", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes:snapshots:detail", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:snapshots:show", READER_OR_ADMIN),
    ("os_compute_api:os-volumes:snapshots:delete", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:index", READER_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:create", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:show", READER_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:update", MEMBER_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:swap", SERVICE_OR_ADMIN),
    ("os_compute_api:os-volumes-attachments:delete", MEMBER_OR_ADMIN),
];
