//! Key pairs.

use kilonova_core::Microversion;
use kilonova_core::time::strtime;
use kilonova_objects::KeyPair;
use serde::Serialize;

use crate::versions::V2_2;

/// In a list.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    name: &'a str,
    public_key: Option<&'a str>,
    fingerprint: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    key_type: Option<&'a str>,
}

/// When it was just made.
#[derive(Serialize)]
pub(crate) struct Created<'a> {
    #[serde(flatten)]
    brief: Brief<'a>,
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
}

/// Everything.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(flatten)]
    brief: Brief<'a>,
    user_id: Option<&'a str>,
    created_at: Option<String>,
    deleted: bool,
    deleted_at: Option<String>,
    id: i64,
    updated_at: Option<String>,
}

impl<'a> Brief<'a> {
    pub(crate) fn new(keypair: &'a KeyPair, version: Microversion) -> Self {
        Self {
            name: &keypair.name,
            public_key: keypair.public_key.as_deref(),
            fingerprint: keypair.fingerprint.as_deref(),
            key_type: (version >= V2_2).then_some(keypair.r#type.as_str()),
        }
    }
}

impl<'a> Created<'a> {
    pub(crate) fn new(keypair: &'a KeyPair, private_key: Option<&'a str>, version: Microversion) -> Self {
        Self { brief: Brief::new(keypair, version), user_id: keypair.user_id.as_deref(), private_key }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn new(keypair: &'a KeyPair, version: Microversion) -> Self {
        Self {
            brief: Brief::new(keypair, version),
            user_id: keypair.user_id.as_deref(),
            created_at: keypair.created_at.map(strtime),
            deleted: keypair.deleted,
            deleted_at: keypair.deleted_at.map(strtime),
            id: keypair.id,
            updated_at: keypair.updated_at.map(strtime),
        }
    }
}
