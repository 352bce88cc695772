//! Query strings: which parameters a route knows at a microversion, and the little languages of their values.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use kilonova_clients::placement::Resources;
use uuid::Uuid;

use super::Caller;
use super::error::ApiError;
use crate::PlacementError;
use crate::candidates::TraitRules;

/// The parameters as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(BTreeMap<String, Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|error| {
            ApiError::bad_request(format!("Invalid query string parameters: {}", error.body_text()))
        })?;
        let mut params = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in pairs.0 {
            params.entry(name).or_default().push(value);
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Refuses what a route does not know (yet): `known` is each name with the minor version that brought it.
    pub(super) fn allow(&self, caller: &Caller, known: &[(&str, u16)]) -> Result<(), ApiError> {
        for name in self.0.keys() {
            if !known.iter().any(|(known, since)| known == name && caller.since(*since)) {
                return Err(unexpected(name));
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    pub(super) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Of several values most parameters take the last one.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.all(name).last().map(String::as_str)
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    pub(super) fn uuid(&self, name: &str) -> Result<Option<Uuid>, ApiError> {
        let invalid =
            |value| ApiError::bad_request(format!("Invalid query string parameters: '{value}' is not a 'uuid'"));
        self.last(name).map(|value| value.parse().map_err(|_| invalid(value))).transpose()
    }
}

pub(super) fn unexpected(name: &str) -> ApiError {
    ApiError::bad_request(format!(
        "Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)"
    ))
}

/// A class in `resources` that there is not.
pub(super) fn unknown_class(error: PlacementError) -> ApiError {
    match error {
        PlacementError::UnknownClass(_) => {
            ApiError::bad_request(format!("Invalid resource class in resources parameter: {error}"))
        }
        other => other.into(),
    }
}

/// `in_tree`
pub(super) fn in_tree(value: &str) -> Result<Uuid, ApiError> {
    value.trim().parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. Got: {value}"
        ))
    })
}

/// `VCPU:2,MEMORY_MB:1024`
pub(super) fn resources(text: &str) -> Result<Resources, ApiError> {
    let malformed = |got: &str| {
        ApiError::bad_request(format!(
            "Badly formed resources parameter. Expected resources query string parameter in form: \
             ?resources=VCPU:2,MEMORY_MB:1024. Got: {got}."
        ))
    };
    if text.trim().is_empty() {
        return Err(malformed("empty string"));
    }
    let mut resources = Resources::new();
    for entry in text.split(',') {
        let (class, amount) =
            entry.split_once(':').filter(|(_, amount)| !amount.contains(':')).ok_or_else(|| malformed(entry))?;
        let amount = self::amount(amount).ok_or_else(|| {
            ApiError::bad_request(format!(
                "Requested resource {class} expected positive integer amount. Got: {amount}."
            ))
        })?;
        if amount < 1 {
            return Err(ApiError::bad_request(format!(
                "Requested resource {class} requires amount >= 1. Got: {amount}."
            )));
        }
        resources.insert(class.to_owned(), amount);
    }
    Ok(resources)
}

/// One that no number of ours can hold is more than anybody has.
fn amount(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_large = text.len() > 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_large { Some(text.parse().unwrap_or(i64::MAX)) } else { text.parse().ok() }
}

/// The rules of all `required` together: from 1.39; before, of the last one.
pub(super) fn traits(caller: &Caller, values: &[String]) -> Result<TraitRules, ApiError> {
    let first = if caller.since(39) { 0 } else { values.len().saturating_sub(1) };
    let mut rules = TraitRules::default();
    for value in &values[first..] {
        match value.strip_prefix("in:") {
            Some(_) if !caller.since(39) => {
                return Err(ApiError::bad_request(format!(
                    "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported \
                     since microversion 1.39. Got: {value}"
                )));
            }
            Some(list) => rules.required.push(any_of(value, list)?),
            None => all_of(value, caller.since(22), &mut rules)?,
        }
    }
    Ok(rules)
}

/// `in:A,B`: one of them.
fn any_of(value: &str, list: &str) -> Result<BTreeSet<String>, ApiError> {
    let names: BTreeSet<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    if names.contains("") {
        return Err(ApiError::bad_request(format!(
            "Invalid query string parameters: Expected 'required' parameter value of the form: \
             in:HW_CPU_X86_VMX,CUSTOM_MAGIC. Got an empty trait in: {value}"
        )));
    }
    if names.iter().any(|name| name.starts_with('!')) {
        return Err(ApiError::bad_request(format!(
            "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden \
             traits. Got: {value}"
        )));
    }
    Ok(names)
}

/// `A,!B`: A, and not B.
fn all_of(value: &str, may_forbid: bool, rules: &mut TraitRules) -> Result<(), ApiError> {
    let form = if may_forbid { "HW_CPU_X86_VMX,!CUSTOM_MAGIC" } else { "HW_CPU_X86_VMX,CUSTOM_MAGIC" };
    let expected = |got: &str| {
        ApiError::bad_request(format!(
            "Invalid query string parameters: Expected 'required' parameter value of the form: {form}. {got}: {value}"
        ))
    };
    let names: Vec<&str> = value.split(',').map(str::trim).collect();
    if names.iter().any(|name| name.trim_start_matches('!').is_empty()) {
        return Err(expected("Got an empty trait in"));
    }
    for name in names {
        // As in Placement, several exclamation marks are one.
        match name.trim_start_matches('!') {
            forbidden if forbidden.len() < name.len() && !may_forbid => return Err(expected("Got")),
            forbidden if forbidden.len() < name.len() => _ = rules.forbidden.insert(forbidden.to_owned()),
            required => rules.required.push(BTreeSet::from([required.to_owned()])),
        }
    }
    Ok(())
}

/// `root_required`: `A,!B`, in every version that has it.
pub(super) fn root_required(value: &str) -> Result<TraitRules, ApiError> {
    if value.starts_with("in:") {
        return Err(ApiError::bad_request(format!(
            "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since \
             microversion 1.39. Got: {value}"
        )));
    }
    let mut rules = TraitRules::default();
    all_of(value, true, &mut rules)?;
    let both = rules.required.iter().flatten().filter(|name| rules.forbidden.contains(*name)).cloned();
    let both: Vec<String> = both.collect();
    if both.is_empty() {
        return Ok(rules);
    }
    Err(ApiError::bad_query(format!(
        "Conflicting required and forbidden traits found in root_required: {}",
        both.join(", ")
    )))
}

/// Aggregates of which one must be there, set by set (several from 1.24), and those that must not (from 1.32).
pub(super) fn member_of(
    caller: &Caller,
    suffix: &str,
    values: &[String],
) -> Result<(Vec<BTreeSet<Uuid>>, BTreeSet<Uuid>), ApiError> {
    if values.len() > 1 && !caller.since(24) {
        return Err(ApiError::bad_request(format!("Multiple member_of{suffix} parameters are not supported")));
    }
    let (mut required, mut forbidden) = (Vec::new(), BTreeSet::new());
    for value in values {
        let positive = value.strip_prefix('!');
        let list = positive.unwrap_or(value);
        let uuids = match list.strip_prefix("in:") {
            Some(list) => aggregates(list)?,
            None if list.contains(',') => {
                return Err(ApiError::bad_request(format!(
                    "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the \
                     valid microversion. Got: {value}"
                )));
            }
            None => aggregates(list)?,
        };
        if positive.is_none() {
            required.push(uuids);
        } else if caller.since(32) {
            forbidden.extend(uuids);
        } else {
            return Err(ApiError::bad_request(format!(
                "Forbidden member_of{suffix} parameters are not supported in the specified microversion"
            )));
        }
    }
    Ok((required, forbidden))
}

fn aggregates(list: &str) -> Result<BTreeSet<Uuid>, ApiError> {
    let aggregate = |text: &str| {
        text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: {text}"
            ))
        })
    };
    list.split(',').map(aggregate).collect()
}
