//! What of a list's filters is said in SQL, and what is looked at afterwards.

use kilonova_objects::{Instance, TaskState, VmState};
use regex::Regex;
use sea_orm::Value as SqlValue;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Query};

use super::{Deleted, InstanceQuery};
use crate::DbError;
use crate::sql::{Cell, contains, uuid_in, val};

/// The filters as SQL. Regular expressions, tags, addresses and system metadata are narrowed at most: [`Matcher`] has
/// the last word on them.
pub(super) fn condition(query: &InstanceQuery) -> Condition {
    let all = Condition::all().add(Expr::col("hidden").eq(false));
    let all = columns(query)
        .into_iter()
        .fold(all, |all, (name, value)| all.add_option(value.map(|value| Expr::col(name).eq(value))));
    all.add_option(deleted(query))
        .add_option(query.uuids.as_ref().map(|uuids| uuid_in("uuid", uuids)))
        .add_option(query.states.as_ref().map(|states| any_state(states)))
        .add_option(query.config_drive.map(config_drive))
        .add_option(times(query))
        .add(metadata(query))
        .add(narrowed(query))
}

/// Columns that are compared as a whole.
fn columns(query: &InstanceQuery) -> Vec<(&'static str, Option<SqlValue>)> {
    fn some<T>(value: &Option<T>) -> Option<SqlValue>
    where
        T: Cell,
    {
        value.as_ref().map(Cell::value)
    }
    vec![
        ("project_id", some(&query.project_id)),
        ("user_id", some(&query.user_id)),
        ("host", some(&query.host)),
        ("node", some(&query.node)),
        ("image_ref", some(&query.image_ref)),
        ("flavorid", some(&query.flavorid)),
        ("reservation_id", some(&query.reservation_id)),
        ("availability_zone", some(&query.availability_zone)),
        ("key_name", some(&query.key_name)),
        ("vm_state", some(&query.vm_state)),
        ("task_state", some(&query.task_state)),
        ("power_state", some(&query.power_state)),
        ("locked", some(&query.locked)),
        ("launch_index", some(&query.launch_index)),
        ("root_device_name", some(&query.root_device_name)),
        ("kernel_id", some(&query.kernel_id)),
        ("ramdisk_id", some(&query.ramdisk_id)),
        ("progress", some(&query.progress)),
        ("terminated_at", some(&query.terminated_at)),
        ("launched_at", some(&query.launched_at)),
        ("created_at", some(&query.created_at)),
    ]
}

fn deleted(query: &InstanceQuery) -> Option<Expr> {
    let is = |deleted: bool| Expr::col("deleted").eq(deleted);
    let vm_state = || Expr::col("vm_state");
    let softly = VmState::SoftDeleted.as_str();
    match (query.deleted, query.soft_deleted_is_deleted) {
        (Deleted::Yes, _) => None,
        (Deleted::No, false) => Some(is(false)),
        (Deleted::No, true) => Some(is(false).and(vm_state().ne(softly))),
        (Deleted::Only, false) => Some(is(true)),
        (Deleted::Only, true) => Some(is(true).or(vm_state().eq(softly))),
    }
}

fn any_state(states: &[(VmState, Vec<Option<TaskState>>)]) -> Condition {
    if states.is_empty() {
        return Condition::all().add(Expr::val(1).eq(2));
    }
    states.iter().fold(Condition::any(), |any, (vm_state, tasks)| {
        let named: Vec<&str> = tasks.iter().flatten().map(|task| task.as_str()).collect();
        let mut in_tasks = Condition::any().add(Expr::col("task_state").is_in(named));
        if tasks.contains(&None) {
            in_tasks = in_tasks.add(Expr::col("task_state").is_null());
        }
        any.add(Condition::all().add(Expr::col("vm_state").eq(val(*vm_state))).add(in_tasks))
    })
}

/// Nova has the empty text, or null, for a server without config drive.
fn config_drive(wanted: bool) -> Condition {
    let column = || Expr::col("config_drive");
    if wanted {
        Condition::all().add(column().ne(""))
    } else {
        Condition::any().add(column().eq("")).add(column().is_null())
    }
}

fn times(query: &InstanceQuery) -> Option<Condition> {
    let changed = || Expr::col("updated_at").if_null(Expr::col("created_at"));
    if query.changes_since.is_none() && query.changes_before.is_none() {
        return None;
    }
    let since = query.changes_since.map(|since| changed().gte(val(since)));
    let before = query.changes_before.map(|before| changed().lte(val(before)));
    Some(Condition::all().add_option(since).add_option(before))
}

fn metadata(query: &InstanceQuery) -> Condition {
    query.metadata.iter().fold(Condition::all(), |all, (key, value)| {
        let pair = Query::select()
            .expr(Expr::val(1))
            .from("instance_metadata")
            .and_where(Expr::col(("instance_metadata", "instance_uuid")).equals(("instances", "uuid")))
            .and_where(Expr::col("key").eq(key.as_str()))
            .and_where(Expr::col("value").eq(value.as_str()))
            .take();
        all.add(Expr::exists(pair))
    })
}

/// A regular expression without operators is a text that must be there; so is a tag in the row's JSON.
fn narrowed(query: &InstanceQuery) -> Condition {
    let texts =
        [("display_name", &query.name), ("hostname", &query.hostname), ("display_description", &query.description)];
    let texts = texts.into_iter().filter_map(|(column, pattern)| {
        let pattern = pattern.as_deref()?;
        (regex::escape(pattern) == pattern).then(|| contains(column, pattern))
    });
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let tags = query.tags.iter().map(|tag| contains("record", &json(tag)));
    texts.chain(tags).fold(Condition::all(), Condition::add)
}

/// What is looked at once an instance is decoded.
pub(super) struct Matcher<'a> {
    query: &'a InstanceQuery,
    name: Option<Regex>,
    hostname: Option<Regex>,
    description: Option<Regex>,
    ip: Option<Regex>,
    ip6: Option<Regex>,
}

impl<'a> Matcher<'a> {
    /// `None`: SQL has said it all.
    pub(super) fn new(query: &'a InstanceQuery) -> Result<Option<Self>, DbError> {
        let matcher = Self {
            query,
            name: regex(&query.name, "")?,
            hostname: regex(&query.hostname, "")?,
            description: regex(&query.description, "")?,
            ip: regex(&query.ip, "^")?,
            ip6: regex(&query.ip6, "^")?,
        };
        Ok(matcher.is_needed().then_some(matcher))
    }

    fn is_needed(&self) -> bool {
        let regexes = [&self.name, &self.hostname, &self.description, &self.ip, &self.ip6];
        let query = self.query;
        let tags = [&query.tags, &query.tags_any, &query.not_tags, &query.not_tags_any];
        regexes.iter().any(|regex| regex.is_some())
            || tags.iter().any(|tags| !tags.is_empty())
            || !query.system_metadata.is_empty()
    }

    /// Whether the instance is one of those that are looked for.
    pub(super) fn matches(&self, instance: &Instance) -> bool {
        text_matches(&self.name, &instance.display_name)
            && text_matches(&self.hostname, &instance.hostname)
            && text_matches(&self.description, &instance.display_description)
            && self.address_matches(instance)
            && self.tags_match(instance)
            && self.system_metadata_matches(instance)
    }

    fn address_matches(&self, instance: &Instance) -> bool {
        if self.ip.is_none() && self.ip6.is_none() {
            return true;
        }
        let network_info = instance.network_info();
        let subnets = network_info.0.iter().flat_map(|vif| &vif.network.subnets);
        subnets.flat_map(|subnet| &subnet.ips).any(|ip| {
            let regex = if ip.version == 6 { &self.ip6 } else { &self.ip };
            regex.as_ref().is_some_and(|regex| regex.is_match(&ip.address))
        })
    }

    fn tags_match(&self, instance: &Instance) -> bool {
        let has =
            |tag: &String| instance.tags.as_ref().is_some_and(|tags| tags.objects.iter().any(|own| own.tag == *tag));
        let query = self.query;
        query.tags.iter().all(has)
            && (query.tags_any.is_empty() || query.tags_any.iter().any(has))
            && (query.not_tags.is_empty() || !query.not_tags.iter().all(has))
            && !query.not_tags_any.iter().any(has)
    }

    fn system_metadata_matches(&self, instance: &Instance) -> bool {
        self.query
            .system_metadata
            .iter()
            .all(|(key, value)| instance.system_metadata.get(key).is_some_and(|own| own.as_ref() == Some(value)))
    }
}

fn regex(pattern: &Option<String>, anchor: &str) -> Result<Option<Regex>, DbError> {
    let Some(pattern) = pattern else { return Ok(None) };
    Regex::new(&format!("{anchor}(?:{pattern})"))
        .map(Some)
        .map_err(|error| DbError::corrupt("regular expression", pattern, error))
}

fn text_matches(regex: &Option<Regex>, text: &Option<String>) -> bool {
    regex.as_ref().is_none_or(|regex| text.as_ref().is_some_and(|text| regex.is_match(text)))
}
