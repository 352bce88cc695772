//! Search options, as Nova reads them.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use kilonova_core::{Microversion, RequestContext};
use kilonova_db::instances::{Deleted, InstanceQuery};
use kilonova_objects::state::states_of_status;
use kilonova_objects::{PowerState, TaskState, VmState};
use regex::Regex;

use super::{LocalFilters, Wanted};
use crate::schemas::servers::{IGNORED_SORT_KEYS, JOINED_TABLES};
use crate::validation::parse_isotime;
use crate::versions::{V2_5, V2_26, V2_38, V2_66, V2_73, V2_83, V2_90};

/// Why a search is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SearchError {
    Invalid(String),
    Forbidden(String),
}

/// The options of one request.
pub(crate) struct Search<'a> {
    /// Name and value, in the order of the query string.
    pub options: Vec<(&'a str, &'a str)>,
    pub version: Microversion,
    pub context: &'a RequestContext,
    /// Whether every filter is allowed, not only those for everybody.
    pub all_filters: bool,
    pub max_limit: u64,
}

const PAGING: [&str; 4] = ["sort_key", "sort_dir", "limit", "marker"];
const TAG_FILTERS: [&str; 4] = ["tags", "tags-any", "not-tags", "not-tags-any"];

impl Search<'_> {
    fn since(&self, version: Microversion) -> bool {
        self.version >= version
    }

    /// The last value of an option that this caller may use.
    fn get(&self, name: &str) -> Option<&str> {
        if !self.is_allowed(name) {
            return None;
        }
        self.options.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Nova strips what others than admins may not filter by.
    fn is_allowed(&self, name: &str) -> bool {
        if self.all_filters {
            return true;
        }
        match name {
            "reservation_id" | "name" | "status" | "image" | "flavor" | "ip" | "changes-since" | "all_tenants" => true,
            "ip6" => self.since(V2_5),
            "changes-before" => self.since(V2_66),
            "locked" => self.since(V2_73),
            "availability_zone" | "config_drive" | "key_name" | "created_at" | "launched_at" | "terminated_at"
            | "power_state" | "task_state" | "vm_state" | "progress" | "user_id" => self.since(V2_83),
            "hostname" => self.since(V2_90),
            tag if TAG_FILTERS.contains(&tag) => self.since(V2_26),
            _ => false,
        }
    }

    /// Whether servers of all projects are asked for.
    pub(crate) fn all_tenants(&self) -> Result<bool, SearchError> {
        match self.get("all_tenants") {
            None => Ok(false),
            Some("") => Ok(true),
            Some(text) => strict_bool(text),
        }
    }

    /// The query. `all_tenants`: of all projects, which the caller was found to be allowed.
    pub(crate) fn wanted(&self, all_tenants: bool) -> Result<Wanted, SearchError> {
        self.check_names()?;
        let mut wanted = Wanted::default();
        self.status(&mut wanted)?;
        self.times(&mut wanted.query)?;
        self.deleted(&mut wanted.query)?;
        self.owner(&mut wanted.query, all_tenants);
        self.texts(&mut wanted.query);
        self.typed(&mut wanted)?;
        self.tags(&mut wanted.query);
        wanted.local = self.local()?;
        self.page(&mut wanted)?;
        wanted.query.sort = self.sort()?;
        Ok(wanted)
    }

    fn check_names(&self) -> Result<(), SearchError> {
        let odd = |name: &str| JOINED_TABLES.contains(&name) || name.starts_with('_');
        let names = self.options.iter().map(|(name, _)| *name);
        match names.filter(|name| !PAGING.contains(name) && self.is_allowed(name)).find(|name| odd(name)) {
            Some(name) => Err(SearchError::Invalid(format!("Invalid filter field: {name}."))),
            None => Ok(()),
        }
    }

    fn status(&self, wanted: &mut Wanted) -> Result<(), SearchError> {
        let statuses: Vec<&str> =
            self.options.iter().filter(|(name, _)| *name == "status").map(|(_, value)| *value).collect();
        if statuses.is_empty() {
            return Ok(());
        }
        let states: Vec<_> = statuses.iter().flat_map(|status| states_of_status(status)).collect();
        if states.is_empty() {
            if self.since(V2_38) {
                return Err(SearchError::Invalid("Invalid status value".to_owned()));
            }
            wanted.is_empty = true;
        }
        if !states.is_empty() && states.iter().all(|(vm_state, _)| *vm_state == VmState::Deleted) {
            if !self.context.is_admin {
                return Err(SearchError::Forbidden("Only administrators may list deleted instances".to_owned()));
            }
            (wanted.query.deleted, wanted.query.vm_state) = (Deleted::Only, Some(VmState::Deleted));
            return Ok(());
        }
        wanted.query.states = Some(states);
        Ok(())
    }

    fn times(&self, query: &mut InstanceQuery) -> Result<(), SearchError> {
        query.changes_since = self.time("changes-since")?;
        query.changes_before = self.time("changes-before")?;
        if let (Some(since), Some(before)) = (query.changes_since, query.changes_before)
            && before < since
        {
            let message = "The value of changes-since must be less than or equal to changes-before.";
            return Err(SearchError::Invalid(message.to_owned()));
        }
        Ok(())
    }

    fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, SearchError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let parsed = parse_isotime(text).map(Some);
        parsed.ok_or_else(|| SearchError::Invalid(format!("Invalid filter field: {name}.")))
    }

    /// Deleted servers are shown on request, and among those that changed. Soft-deleted ones are shown with them, and
    /// with the others to whom asks for it; any text asks, as in Nova.
    fn deleted(&self, query: &mut InstanceQuery) -> Result<(), SearchError> {
        let by_change = query.changes_since.is_some() || query.changes_before.is_some();
        match self.get("deleted") {
            Some(text) if strict_bool(text) == Ok(true) => query.deleted = Deleted::Only,
            None if by_change && query.deleted == Deleted::No => query.deleted = Deleted::Yes,
            _ => {}
        }
        let asked = self.get("soft_deleted").map(|text| !text.is_empty());
        query.soft_deleted_is_deleted = match query.deleted {
            Deleted::Only => asked.unwrap_or(true),
            Deleted::No | Deleted::Yes => !asked.unwrap_or(false),
        };
        Ok(())
    }

    /// Without `all_tenants` the project is the caller's own, whatever else is asked.
    fn owner(&self, query: &mut InstanceQuery, all_tenants: bool) {
        let own = |text: &str| Some(text.to_owned());
        query.user_id = self.get("user_id").and_then(own);
        query.project_id = if all_tenants {
            self.get("tenant_id").or_else(|| self.get("project_id")).and_then(own)
        } else {
            own(self.context.project_id())
        };
    }

    fn texts(&self, query: &mut InstanceQuery) {
        let one = |names: &[&str]| names.iter().find_map(|name| self.get(name)).map(str::to_owned);
        query.host = one(&["host"]);
        query.node = one(&["node"]);
        query.name = one(&["name", "display_name"]);
        query.hostname = one(&["hostname"]);
        query.image_ref = one(&["image", "image_ref"]);
        query.flavorid = one(&["flavor"]);
        query.reservation_id = one(&["reservation_id"]);
        query.availability_zone = one(&["availability_zone"]);
        query.key_name = one(&["key_name"]);
        query.ip = one(&["ip"]);
        query.ip6 = one(&["ip6"]);
        query.description = one(&["description", "display_description"]);
        query.root_device_name = one(&["root_device_name"]);
        query.kernel_id = one(&["kernel_id"]);
        query.ramdisk_id = one(&["ramdisk_id"]);
    }

    /// A value that is none of its type matches no server.
    fn typed(&self, wanted: &mut Wanted) -> Result<(), SearchError> {
        let mut is_empty = false;
        let query = &mut wanted.query;
        parsed(self.get("vm_state"), &mut query.vm_state, &mut is_empty);
        parsed::<TaskState>(self.get("task_state"), &mut query.task_state, &mut is_empty);
        parsed(self.get("launch_index"), &mut query.launch_index, &mut is_empty);
        parsed(self.get("progress"), &mut query.progress, &mut is_empty);
        let mut power_state: Option<i64> = None;
        parsed(self.get("power_state"), &mut power_state, &mut is_empty);
        query.power_state = power_state.and_then(PowerState::from_number);
        is_empty |= power_state.is_some() && query.power_state.is_none();
        if let Some(uuid) = self.get("uuid") {
            query.uuids = Some(uuid.parse().into_iter().collect());
        }
        for (name, at) in [
            ("created_at", &mut query.created_at),
            ("launched_at", &mut query.launched_at),
            ("terminated_at", &mut query.terminated_at),
        ] {
            *at = self.get(name).and_then(parse_isotime);
            is_empty |= self.get(name).is_some() && at.is_none();
        }
        query.config_drive = self.get("config_drive").map(|text| strict_bool(text) == Ok(true));
        query.locked = self.get("locked").map(strict_bool).transpose()?;
        wanted.is_empty |= is_empty;
        Ok(())
    }

    fn tags(&self, query: &mut InstanceQuery) {
        if !self.since(V2_26) {
            return;
        }
        let list = |name: &str| -> Vec<String> {
            self.get(name).into_iter().flat_map(|tags| tags.split(',')).map(str::to_owned).collect()
        };
        query.tags = list("tags");
        query.tags_any = list("tags-any");
        query.not_tags = list("not-tags");
        query.not_tags_any = list("not-tags-any");
    }

    fn local(&self) -> Result<LocalFilters, SearchError> {
        let regex = |name: &str| -> Result<Option<Regex>, SearchError> {
            let Some(text) = self.get(name) else { return Ok(None) };
            let invalid = |_| SearchError::Invalid(format!("Invalid filter field: {name}."));
            Regex::new(text).map(Some).map_err(invalid)
        };
        Ok(LocalFilters {
            locked_by: regex("locked_by")?,
            access_ip_v4: regex("access_ip_v4")?,
            access_ip_v6: regex("access_ip_v6")?,
            auto_disk_config: self.get("auto_disk_config").map(|text| strict_bool(text) == Ok(true)),
        })
    }

    /// Limit and marker are for everybody.
    fn page(&self, wanted: &mut Wanted) -> Result<(), SearchError> {
        let last = |name: &str| self.options.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let limit = match last("limit") {
            None => self.max_limit,
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| SearchError::Invalid(format!("Invalid input received: limit must be an integer: {text}")))?
                .min(self.max_limit),
        };
        wanted.query.limit = Some(limit);
        if let Some(marker) = last("marker") {
            let unknown = |_| SearchError::Invalid(format!("marker [{marker}] not found"));
            wanted.query.marker = Some(marker.parse().map_err(unknown)?);
        }
        Ok(())
    }

    /// Keys and directions come as lists of their own; a key without a direction takes the first one.
    fn sort(&self) -> Result<Vec<(String, bool)>, SearchError> {
        let all = |name: &str| -> Vec<&str> {
            self.options.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.trim()).collect()
        };
        let (mut keys, mut dirs) = (all("sort_key"), all("sort_dir"));
        if keys.is_empty() {
            keys.push("created_at");
        }
        if dirs.is_empty() {
            dirs.push("desc");
        }
        let ignored = |key: &str| IGNORED_SORT_KEYS.contains(&key) && !(key == "locked" && self.since(V2_73));
        for at in (0..keys.len()).rev().filter(|at| ignored(keys[*at])).collect::<Vec<_>>() {
            keys.remove(at);
            if at < dirs.len() {
                dirs.remove(at);
            }
        }
        if let Some(key) = keys.iter().find(|key| matches!(**key, "host" | "node") && !self.context.is_admin) {
            return Err(SearchError::Forbidden(format!("Only administrators can sort servers by {key}")));
        }
        if dirs.len() > keys.len() {
            let message = "Invalid input received: Sort direction size exceeds sort key size";
            return Err(SearchError::Invalid(message.to_owned()));
        }
        let first = dirs.first().copied().unwrap_or("desc");
        let pairs = keys.iter().enumerate().map(|(at, key)| match dirs.get(at).copied().unwrap_or(first) {
            "asc" => Ok(((*key).to_owned(), false)),
            "desc" => Ok(((*key).to_owned(), true)),
            _ => Err(SearchError::Invalid(
                "Invalid input received: Unknown sort direction, must be 'desc' or 'asc'".to_owned(),
            )),
        });
        pairs.collect()
    }
}

fn parsed<T: FromStr>(text: Option<&str>, into: &mut Option<T>, is_empty: &mut bool) {
    let Some(text) = text else { return };
    *into = text.parse().ok();
    *is_empty |= into.is_none();
}

/// oslo.utils' `bool_from_string(strict=True)`
fn strict_bool(text: &str) -> Result<bool, SearchError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(SearchError::Invalid(format!(
            "Invalid input received: Unrecognized value '{text}', acceptable values are: '0', '1', 'f', 'false', 'n', \
             'no', 'off', 'on', 't', 'true', 'y', 'yes'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::MAX_VERSION;

    fn search<'a>(context: &'a RequestContext, options: &[(&'a str, &'a str)], version: Microversion) -> Search<'a> {
        Search { options: options.to_vec(), version, context, all_filters: context.is_admin, max_limit: 1000 }
    }

    fn member() -> RequestContext {
        RequestContext::new("u", "p")
    }

    #[test]
    fn others_than_admins_cannot_leave_their_project_or_use_every_filter() {
        let context = member();
        let wanted =
            search(&context, &[("host", "h"), ("project_id", "x"), ("name", "n")], MAX_VERSION).wanted(false).unwrap();
        assert_eq!(wanted.query.project_id.as_deref(), Some("p"));
        assert_eq!(wanted.query.host, None);
        assert_eq!(wanted.query.name.as_deref(), Some("n"));
        let admin = RequestContext { is_admin: true, ..member() };
        let wanted = search(&admin, &[("host", "h"), ("project_id", "x")], MAX_VERSION).wanted(true).unwrap();
        assert_eq!((wanted.query.host.as_deref(), wanted.query.project_id.as_deref()), (Some("h"), Some("x")));
    }

    #[test]
    fn sorting_takes_keys_and_directions_apart() {
        let context = member();
        let sort = |options: &[(&'static str, &'static str)]| search(&context, options, MAX_VERSION).sort();
        let key = |name: &str, desc: bool| (name.to_owned(), desc);
        assert_eq!(sort(&[]), Ok(vec![key("created_at", true)]));
        assert_eq!(
            sort(&[("sort_key", "uuid"), ("sort_key", "vm_state"), ("sort_dir", "asc")]),
            Ok(vec![key("uuid", false), key("vm_state", false)])
        );
        assert_eq!(
            sort(&[("sort_key", "vcpus"), ("sort_key", "uuid"), ("sort_dir", "asc"), ("sort_dir", "desc")]),
            Ok(vec![key("uuid", true)])
        );
        assert!(matches!(sort(&[("sort_key", "host")]), Err(SearchError::Forbidden(_))));
        assert!(matches!(sort(&[("sort_dir", "up")]), Err(SearchError::Invalid(_))));
        assert!(matches!(sort(&[("sort_dir", "asc"), ("sort_dir", "asc")]), Err(SearchError::Invalid(_))));
    }

    #[test]
    fn deleted_servers_are_shown_when_changes_are_asked_for() {
        let context = member();
        let deleted = |options: &[(&'static str, &'static str)]| {
            search(&context, options, MAX_VERSION).wanted(false).unwrap().query.deleted
        };
        assert_eq!(deleted(&[]), Deleted::No);
        assert_eq!(deleted(&[("changes-since", "2026-01-01T00:00:00Z")]), Deleted::Yes);
        assert_eq!(deleted(&[("deleted", "true")]), Deleted::No);
    }

    #[test]
    fn an_unknown_status_is_an_empty_list_and_since_2_38_an_error() {
        let context = member();
        let of = |version| search(&context, &[("status", "fine")], version).wanted(false);
        assert!(of(Microversion::new(2, 37)).unwrap().is_empty);
        assert!(matches!(of(V2_38), Err(SearchError::Invalid(_))));
    }
}
