//! What a build needs to know of an image.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::wire::{self, VersionedObject, Wire, WireError};

crate::versioned_object! {
    /// An image without its bytes.
    ImageMeta, "ImageMeta", "1.8", {
        [lazy] id: Option<Uuid>,
        [lazy] name: String,
        [lazy] status: String,
        [lazy] visibility: String,
        [lazy] protected: bool,
        [lazy] checksum: String,
        [lazy] owner: String,
        [lazy] size: i64,
        [lazy] virtual_size: i64,
        [lazy] container_format: String,
        [lazy] disk_format: String,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] tags: Vec<String>,
        [lazy] direct_url: String,
        min_ram: i64,
        min_disk: i64,
        properties: ImageMetaProps,
    }
}

/// The properties that Nova knows (`hw_*`, `os_*`, `img_*`), by name: only those that are set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageMetaProps(pub BTreeMap<String, Value>);

impl ImageMetaProps {
    /// A property as text, whatever its type on the wire.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

impl VersionedObject for ImageMetaProps {
    const NAME: &'static str = "ImageMetaProps";
    const VERSION: &'static str = "1.44";

    fn data(&self) -> Map<String, Value> {
        self.0.clone().into_iter().collect()
    }

    fn from_data(data: &Map<String, Value>) -> Result<Self, WireError> {
        Ok(Self(data.clone().into_iter().collect()))
    }
}

impl Wire for ImageMetaProps {
    fn to_wire(&self) -> Value {
        wire::envelope::<Self>(self.data(), &[])
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        Self::from_data(wire::open::<Self>(value)?)
    }
    fn when_unset() -> Option<Self> {
        Some(Self::default())
    }
}
