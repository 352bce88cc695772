//! What another service tells of an instance.

use std::collections::BTreeMap;

use uuid::Uuid;

crate::versioned_object! {
    /// An event of `POST /os-server-external-events`, on its way to the host.
    InstanceExternalEvent, "InstanceExternalEvent", "1.5", {
        instance_uuid: Uuid,
        /// `network-changed`, `power-update`, …
        name: String,
        /// `completed`, `failed`, `in-progress`.
        status: String,
        /// What it is about: a port, a volume, `POWER_ON`, …
        tag: Option<String>,
        [lazy] data: BTreeMap<String, String>,
    }
}

impl InstanceExternalEvent {
    /// As logs have it: the name, and what it is about.
    pub fn key(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}-{tag}", self.name),
            None => self.name.clone(),
        }
    }
}
