//! The password that a guest made for itself and posted to the metadata service, encrypted with the user's key. It is
//! kept in pieces, as `password_0` to `password_3` of the system metadata.

use kilonova_objects::{Instance, Wire as _};
use serde_json::Map;

use super::{ComputeError, update};
use crate::state::ApiState;

const PREFIX: &str = "password_";
const PIECES: usize = 4;

/// Base64, or nothing.
pub(crate) fn encrypted(instance: &Instance) -> String {
    let pieces = instance.system_metadata.iter().filter(|(key, _)| key.starts_with(PREFIX));
    pieces.filter_map(|(_, piece)| piece.as_deref()).collect()
}

/// Forgets it. The guest's password stays.
pub(crate) async fn clear(state: &ApiState, instance: &Instance) -> Result<(), ComputeError> {
    let mut system_metadata = instance.system_metadata.clone();
    system_metadata.extend((0..PIECES).map(|piece| (format!("{PREFIX}{piece}"), Some(String::new()))));
    let changes = Map::from_iter([("system_metadata".to_owned(), system_metadata.to_wire())]);
    update::update(state, instance, changes).await.map(drop)
}
