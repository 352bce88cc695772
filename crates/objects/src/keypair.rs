//! Key pairs.

use chrono::{DateTime, Utc};

crate::versioned_object! {
    /// A user's public key.
    KeyPair, "KeyPair", "1.4", {
        id: i64,
        name: String,
        user_id: Option<String>,
        fingerprint: Option<String>,
        public_key: Option<String>,
        /// `ssh` or `x509`. Field `type` on the wire.
        r#type: String,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}

crate::object_list!(
    /// Several key pairs.
    KeyPairList, "1.3", KeyPair
);
