//! The tags of a server.

use kilonova_objects::{Instance, Tag, TagList, VmState, Wire as _};
use serde_json::Map;

use super::{ComputeError, update};
use crate::state::ApiState;

/// Most tags that a server has.
pub(crate) const MAX_TAG_COUNT: usize = 50;

/// The tags by name.
pub(crate) fn names(instance: &Instance) -> Vec<String> {
    instance.tags.iter().flat_map(|tags| &tags.objects).map(|tag| tag.tag.clone()).collect()
}

/// Replaces the tags; `action` is what a refusal calls it.
pub(crate) async fn set(
    state: &ApiState,
    instance: &Instance,
    names: &[String],
    action: &'static str,
) -> Result<(), ComputeError> {
    check_state(instance, action)?;
    let resource_id = instance.uuid.to_string();
    let tag = |name: &String| Tag { resource_id: Some(resource_id.clone()), tag: name.clone(), ..Tag::default() };
    let tags = TagList::from(names.iter().map(tag).collect::<Vec<_>>());
    let changes = Map::from_iter([("tags".to_owned(), tags.to_wire())]);
    update::update(state, instance, changes).await.map(|_| ())
}

/// Tags change only while the server is in one of these states, whatever its task.
pub(crate) fn check_state(instance: &Instance, action: &'static str) -> Result<(), ComputeError> {
    use VmState::{Active, Paused, Stopped, Suspended};
    if matches!(instance.vm_state, Active | Paused | Suspended | Stopped) {
        return Ok(());
    }
    let state = instance.vm_state.to_string();
    Err(ComputeError::InstanceInvalidState { uuid: instance.uuid, action, attr: "vm_state", state })
}
