//! Moves of an instance between hosts: the record of one, and what two hosts tell each other for a live one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// Values of [`Migration::status`], as far as somebody here looks at them.
pub mod status {
    /// It was asked for.
    pub const ACCEPTED: &str = "accepted";
    /// A host was chosen and claims.
    pub const PRE_MIGRATING: &str = "pre-migrating";
    /// The source gives the guest away.
    pub const MIGRATING: &str = "migrating";
    /// The source has given it away. Of a live move: the guest runs on the other host.
    pub const POST_MIGRATING: &str = "post-migrating";
    /// A resize waits for its confirmation.
    pub const FINISHED: &str = "finished";
    /// The source lets go.
    pub const CONFIRMING: &str = "confirming";
    /// The source has let go.
    pub const CONFIRMED: &str = "confirmed";
    /// Everything goes back.
    pub const REVERTING: &str = "reverting";
    /// Everything is as before.
    pub const REVERTED: &str = "reverted";
    /// A live move waits for its turn.
    pub const QUEUED: &str = "queued";
    /// A live move makes the destination ready.
    pub const PREPARING: &str = "preparing";
    /// A live move copies.
    pub const RUNNING: &str = "running";
    /// A live move is over; of an evacuation: the source has cleaned up.
    pub const COMPLETED: &str = "completed";
    /// A live move was aborted.
    pub const CANCELLED: &str = "cancelled";
    /// An evacuation is over; its source has not cleaned up.
    pub const DONE: &str = "done";
    /// It failed, and all is as before.
    pub const FAILED: &str = "failed";
    /// It failed.
    pub const ERROR: &str = "error";

    /// A live move in one of these is shown below its server.
    pub const LIVE_IN_PROGRESS: [&str; 4] = [QUEUED, PREPARING, RUNNING, POST_MIGRATING];
    /// A move in one of these is over, and nothing is held for it any more. (An evacuation that is `done` still holds
    /// what the source had.)
    pub const OVER: [&str; 6] = [CONFIRMED, REVERTED, ERROR, FAILED, COMPLETED, CANCELLED];
}

/// Values of [`Migration::migration_type`].
pub mod migration_type {
    /// To another host.
    pub const MIGRATION: &str = "migration";
    /// To another flavor.
    pub const RESIZE: &str = "resize";
    /// To another host, while it runs.
    pub const LIVE_MIGRATION: &str = "live-migration";
    /// From a host that is down.
    pub const EVACUATION: &str = "evacuation";
}

crate::versioned_object! {
    /// The record of a move. Its uuid is also a consumer at placement: it holds what the instance had on the source
    /// until the move is over.
    Migration, "Migration", "1.8", {
        [lazy] id: i64,
        uuid: Uuid,
        source_compute: Option<String>,
        dest_compute: Option<String>,
        source_node: Option<String>,
        dest_node: Option<String>,
        dest_compute_id: Option<i64>,
        dest_host: Option<String>,
        old_instance_type_id: Option<i64>,
        new_instance_type_id: Option<i64>,
        instance_uuid: Uuid,
        /// One of [`status`].
        status: String,
        /// One of [`migration_type`].
        migration_type: String,
        hidden: bool,
        /// Bytes, as all of these.
        memory_total: Option<i64>,
        memory_processed: Option<i64>,
        memory_remaining: Option<i64>,
        disk_total: Option<i64>,
        disk_processed: Option<i64>,
        disk_remaining: Option<i64>,
        cross_cell_move: bool,
        user_id: Option<String>,
        project_id: Option<String>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

impl Migration {
    /// Whether it changes the flavor.
    pub fn is_resize(&self) -> bool {
        self.migration_type == migration_type::RESIZE
    }

    /// Whether the guest moves while it runs.
    pub fn is_live_migration(&self) -> bool {
        self.migration_type == migration_type::LIVE_MIGRATION
    }

    /// Whether nothing is held for it any more.
    pub fn is_over(&self) -> bool {
        self.deleted || status::OVER.contains(&self.status.as_str())
    }

    /// Whether both ends are the same host.
    pub fn is_on_one_host(&self) -> bool {
        self.source_compute == self.dest_compute
    }
}

crate::object_list!(
    /// Several moves.
    MigrationList, "1.5", Migration
);

crate::versioned_object! {
    /// What two hosts tell each other for a live move. Of Nova's kinds this is the one that its fake driver uses too.
    LiveMigrateData, "LibvirtLiveMigrateData", "1.14", {
        [lazy] filename: String,
        [lazy] image_type: String,
        [lazy] block_migration: bool,
        [lazy] disk_over_commit: bool,
        [lazy] disk_available_mb: Option<i64>,
        [lazy] is_shared_instance_path: bool,
        [lazy] is_shared_block_storage: bool,
        [lazy] instance_relative_path: String,
        [lazy] graphics_listen_addr_vnc: Option<String>,
        [lazy] graphics_listen_addr_spice: Option<String>,
        [lazy] serial_listen_addr: Option<String>,
        [lazy] serial_listen_ports: Vec<i64>,
        [lazy] bdms: Vec<Value>,
        [lazy] target_connect_addr: Option<String>,
        [lazy] supported_perf_events: Vec<String>,
        [lazy] src_supports_native_luks: bool,
        [lazy] dst_wants_file_backed_memory: bool,
        [lazy] file_backed_memory_discard: bool,
        [lazy] src_supports_numa_live_migration: bool,
        [lazy] dst_supports_numa_live_migration: bool,
        [lazy] dst_numa_info: Option<Value>,
        [lazy] dst_supports_mdev_live_migration: bool,
        [lazy] source_mdev_types: BTreeMap<String, String>,
        [lazy] target_mdevs: BTreeMap<String, String>,
        [lazy] dst_cpu_shared_set_info: Vec<i64>,
        [lazy] vtpm_secret_uuid: Option<Uuid>,
        [lazy] vtpm_secret_value: Option<String>,
        [lazy] is_volume_backed: bool,
        [lazy] migration: Option<Migration>,
        [lazy] old_vol_attachment_ids: BTreeMap<String, String>,
        [lazy] wait_for_vif_plugged: bool,
        [lazy] vifs: Vec<Value>,
        [lazy] pci_dev_map_src_dst: BTreeMap<String, String>,
    }
}
