//! Security groups, and the default one that every project has.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::{
    Connection, Resource, RuleRow, SecurityGroupRow, Transaction, lock, rules, security_groups as groups,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::routes::Kind;
use super::rules::{blank_rule, view as rule_view};
use super::{BuiltinNetwork, ensure_owner, owns, visible_to};

/// A group that the caller may see.
pub(super) async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<SecurityGroupRow, NetworkError> {
    let row = groups::get(connection, id).await?;
    row.filter(|row| owns(context, &row.project_id)).ok_or_else(|| NetworkError::no_security_group(id))
}

impl BuiltinNetwork {
    /// The default group of a project, made on the first use.
    pub(super) async fn default_group(&self, project_id: &str) -> Result<SecurityGroupRow, NetworkError> {
        if let Some(row) = groups::get_default(self.db.read(), project_id).await? {
            return Ok(row);
        }
        let write = || async {
            let tx = self.db.begin().await?;
            let row = ensure_default(&tx, project_id).await?;
            tx.commit().await?;
            Ok(row)
        };
        self.db.retry_idempotent(write).await
    }
}

/// The same inside a transaction.
pub(super) async fn ensure_default(tx: &Transaction, project_id: &str) -> Result<SecurityGroupRow, NetworkError> {
    if let Some(row) = groups::get_default(tx, project_id).await? {
        return Ok(row);
    }
    let mut row = blank_group(project_id, "default", "Default security group");
    row.default_for = Some(project_id.to_owned());
    groups::insert(tx, &row).await?;
    rules::insert(tx, &default_rules(&row)).await?;
    Ok(row)
}

/// In: from members of the group only. Out: everything. Each for both families.
fn default_rules(group: &SecurityGroupRow) -> Vec<RuleRow> {
    let rule = |direction: &str, ethertype: &str| {
        let mut rule = blank_rule(group, direction, ethertype);
        rule.remote_group_id = (direction == "ingress").then_some(group.id);
        rule
    };
    let pairs = [("ingress", "IPv4"), ("egress", "IPv4"), ("ingress", "IPv6"), ("egress", "IPv6")];
    pairs.map(|(direction, ethertype)| rule(direction, ethertype)).to_vec()
}

fn blank_group(project_id: &str, name: &str, description: &str) -> SecurityGroupRow {
    let now = utcnow();
    SecurityGroupRow {
        id: Uuid::new_v4(),
        project_id: project_id.to_owned(),
        description: description.to_owned(),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        name: name.to_owned(),
        default_for: None,
    }
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    let rows = groups::list(connection, visible_to(context)).await?;
    views(connection, &rows).await
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    let row = visible(connection, context, id).await?;
    views(connection, &[row]).await?.pop().ok_or_else(|| NetworkError::no_security_group(id))
}

/// A new group lets everything out.
pub(super) async fn create(
    tx: &Transaction,
    context: &RequestContext,
    attributes: &Attributes,
) -> Result<Uuid, NetworkError> {
    let project_id = attributes.project_id(Kind::SecurityGroup, context)?;
    let name = attributes.required("name")?;
    ensure_default(tx, &project_id).await?;
    if name == "default" {
        return Err(NetworkError::conflict(
            "SecurityGroupDefaultAlreadyExists",
            "Default security group already exists.",
        ));
    }
    let row = blank_group(&project_id, name, &attributes.text_or_empty("description"));
    groups::insert(tx, &row).await?;
    rules::insert(tx, &["IPv4", "IPv6"].map(|ethertype| blank_rule(&row, "egress", ethertype))).await?;
    Ok(row.id)
}

pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    lock(tx, Resource::SecurityGroup, &[id]).await?;
    let mut row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "update_security_group")?;
    if let Some(name) = attributes.text("name").filter(|name| *name != row.name) {
        if row.default_for.is_some() {
            let text = "Updating default security group not allowed.";
            return Err(NetworkError::conflict("SecurityGroupCannotUpdateDefault", text));
        }
        row.name = name.to_owned();
    }
    if attributes.has("description") {
        row.description = attributes.text_or_empty("description");
    }
    row.revision_number += 1;
    row.updated_at = utcnow();
    Ok(groups::update(tx, &row).await?)
}

/// An admin may remove a default group; the project gets a new one when it needs it.
pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    lock(tx, Resource::SecurityGroup, &[id]).await?;
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_security_group")?;
    if groups::is_in_use(tx, id).await? {
        return Err(NetworkError::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
    }
    if row.default_for.is_some() && !context.is_admin {
        let text = "Insufficient rights for removing default security group.";
        return Err(NetworkError::conflict("SecurityGroupCannotRemoveDefault", text));
    }
    Ok(groups::delete(tx, id).await?)
}

async fn views(connection: &impl Connection, rows: &[SecurityGroupRow]) -> Result<Vec<Value>, NetworkError> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut rules_of: HashMap<Uuid, Vec<Value>> = HashMap::new();
    for rule in rules::list_by_groups(connection, &ids).await? {
        rules_of.entry(rule.security_group_id).or_default().push(rule_view(&rule));
    }
    let mut view = |row: &SecurityGroupRow| {
        json!({
            "id": row.id,
            "name": row.name,
            "tenant_id": row.project_id,
            "project_id": row.project_id,
            "description": row.description,
            "security_group_rules": rules_of.remove(&row.id).unwrap_or_default(),
            "revision_number": row.revision_number,
            "created_at": isotime(row.created_at),
            "updated_at": isotime(row.updated_at),
        })
    };
    Ok(rows.iter().map(&mut view).collect())
}
