//! The parts of a server's view that are more than a string.

use std::collections::BTreeMap;

use kilonova_objects::{ImageMetaProps, Instance};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha224};

use crate::views::links::{Link, Links};
use crate::views::time::IsoTime;

/// The image, or the empty string for a server that booted from a volume.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ImageView<'a> {
    Image {
        id: &'a str,
        links: [Link; 1],
        #[serde(skip_serializing_if = "Option::is_none")]
        properties: Option<BTreeMap<&'a str, &'a str>>,
    },
    None(&'static str),
}

impl<'a> ImageView<'a> {
    pub(crate) fn new(instance: &'a Instance, links: &Links, with_properties: bool) -> Self {
        match instance.image_ref.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Self::Image {
                id,
                links: [links.bookmark("images", id)],
                properties: with_properties.then(|| image_properties(instance)),
            },
            None => Self::None(""),
        }
    }
}

/// The properties of its image that Nova knows, as they were when it was built.
fn image_properties(instance: &Instance) -> BTreeMap<&str, &str> {
    let properties = instance.system_metadata.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix("image_").filter(|name| ImageMetaProps::knows(name))?;
        Some((name, value.as_deref()?))
    });
    properties.collect()
}

/// The flavor: a link up to 2.46, what it says from then on.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum FlavorView<'a> {
    Link {
        id: &'a str,
        links: [Link; 1],
    },
    Embedded {
        vcpus: i64,
        ram: i64,
        disk: i64,
        ephemeral: i64,
        swap: i64,
        original_name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        extra_specs: Option<&'a BTreeMap<String, String>>,
    },
    /// Nova's answer for an instance that lost its flavor.
    Lost {},
}

impl<'a> FlavorView<'a> {
    pub(crate) fn new(instance: &'a Instance, links: &Links, is_embedded: bool, show_extra_specs: bool) -> Self {
        let Some(flavor) = &instance.flavor else { return Self::Lost {} };
        if !is_embedded {
            let id = flavor.flavorid.as_str();
            return Self::Link { id, links: [links.bookmark("flavors", id)] };
        }
        Self::Embedded {
            vcpus: flavor.vcpus,
            ram: flavor.memory_mb,
            disk: flavor.root_gb,
            ephemeral: flavor.ephemeral_gb,
            swap: flavor.swap,
            original_name: flavor.name.as_deref().unwrap_or_default(),
            extra_specs: show_extra_specs.then_some(&flavor.extra_specs),
        }
    }
}

/// Why a server is in error.
#[derive(Serialize)]
pub(super) struct Fault<'a> {
    code: i64,
    created: Option<IsoTime>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
}

impl<'a> Fault<'a> {
    /// The details of a 500 are for admins.
    pub(crate) fn new(instance: &'a Instance, is_admin: bool) -> Option<Self> {
        let fault = instance.fault.as_ref()?;
        let details = fault.details.as_deref().filter(|details| !details.is_empty());
        Some(Self {
            code: fault.code,
            created: fault.created_at.map(IsoTime),
            message: fault.message.as_deref().unwrap_or_default(),
            details: details.filter(|_| is_admin || fault.code != 500),
        })
    }
}

/// `[{"name": "default"}]`
pub(super) struct Groups<'a>(pub &'a Instance);

impl Groups<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.security_groups.objects.is_empty()
    }
}

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Named<'a>(&'a str);
        impl Serialize for Named<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("name", self.0)?;
                map.end()
            }
        }
        let groups = &self.0.security_groups.objects;
        let mut seq = serializer.serialize_seq(Some(groups.len()))?;
        for group in groups {
            seq.serialize_element(&Named(&group.name))?;
        }
        seq.end()
    }
}

/// `["a", "b"]`
pub(super) struct Tags<'a>(pub &'a Instance);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tags = self.0.tags.iter().flat_map(|tags| &tags.objects);
        serializer.collect_seq(tags.map(|tag| tag.tag.as_str()))
    }
}

/// The ids of the trusted certificates, if any were given.
pub(super) fn trusted_certs(instance: &Instance) -> Option<&Value> {
    instance.trusted_certs.as_ref().and_then(|certs| certs.get("nova_object.data")?.get("ids"))
}

/// A host's name that only its project can tell from another's.
pub(crate) fn host_id(project_id: &str, host: &str) -> String {
    let mut hash = Sha224::new();
    hash.update(project_id.as_bytes());
    hash.update(host.as_bytes());
    format!("{:x}", hash.finalize())
}
