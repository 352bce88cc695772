//! Flavors.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

crate::versioned_object! {
    /// A hardware shape that a server is made in.
    Flavor, "Flavor", "1.2", {
        /// Row id, also what `Instance.instance_type_id` holds.
        id: i64,
        name: Option<String>,
        memory_mb: i64,
        vcpus: i64,
        root_gb: i64,
        ephemeral_gb: i64,
        /// The id that the API shows.
        flavorid: String,
        /// MiB.
        swap: i64,
        rxtx_factor: Option<f64>,
        vcpu_weight: Option<i64>,
        disabled: bool,
        is_public: bool,
        extra_specs: BTreeMap<String, String>,
        [lazy] projects: Vec<String>,
        description: Option<String>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}
