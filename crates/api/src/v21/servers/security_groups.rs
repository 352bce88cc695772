//! `/servers/{server_id}/os-security-groups`

use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, ok};

/// `GET /servers/{server_id}/os-security-groups`: the groups that the network service has for those of the server.
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let own = &instance.security_groups.objects;
    let known = call.state.clients.network.security_groups(&call.context, instance.project_id()).await?;
    let mut groups: Vec<_> = known
        .iter()
        .filter(|group| own.iter().any(|own| own.uuid.map_or(own.name == group.name, |uuid| uuid == group.id)))
        .collect();
    groups.sort_by_key(|group| (&group.project_id, &group.name));
    // The rules are the network service's to show.
    let shown = groups.into_iter().map(|group| {
        json!({"id": group.id, "name": group.name, "description": "", "tenant_id": group.project_id, "rules": []})
    });
    ok(&json!({"security_groups": shown.collect::<Vec<_>>()}))
}
