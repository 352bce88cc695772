//! Query strings: which parameters a route knows at a microversion, and the little languages of their values.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use kilonova_clients::placement::Resources;
use uuid::Uuid;

use super::Caller;
use super::error::ApiError;
use crate::candidates::TraitRules;
use crate::names;

/// The parameters as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(BTreeMap<String, Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::bad_query(error.body_text()))?;
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

    /// The value of a parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        single(name, self.all(name))
    }

    pub(super) fn uuid(&self, name: &str) -> Result<Option<Uuid>, ApiError> {
        self.one(name)?.map(|value| uuid(name, value)).transpose()
    }
}

pub(super) fn unexpected(name: &str) -> ApiError {
    ApiError::bad_request(format!(
        "Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)"
    ))
}

/// The only one of `values`.
pub(super) fn single<'a>(name: &str, values: &'a [String]) -> Result<Option<&'a str>, ApiError> {
    match values {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        _ => Err(ApiError::duplicate_key(name)),
    }
}

pub(super) fn uuid(name: &str, value: &str) -> Result<Uuid, ApiError> {
    let invalid =
        |_| ApiError::bad_query(format!("Invalid query string parameters: {name}: '{value}' is not a 'uuid'"));
    value.parse().map_err(invalid)
}

/// `VCPU:2,MEMORY_MB:1024`
pub(super) fn resources(text: &str) -> Result<Resources, ApiError> {
    let malformed = || {
        ApiError::bad_query(format!(
            "Badly formed resources parameter. Expected resources query string parameter in form: \
             ?resources=VCPU:2,MEMORY_MB:1024. Got: {text}."
        ))
    };
    let mut resources = Resources::new();
    for entry in text.split(',') {
        let (class, amount) = entry.split_once(':').ok_or_else(malformed)?;
        let amount: i64 = amount.parse().map_err(|_| malformed())?;
        if amount < 1 {
            return Err(ApiError::bad_query(format!(
                "Requested resource {class} expected positive integer amount. Got: {amount}."
            )));
        }
        if !names::is_resource_class(class) {
            return Err(ApiError::bad_query(format!(
                "Invalid resource class in resources parameter: No such resource class {class}."
            )));
        }
        resources.insert(class.to_owned(), amount);
    }
    Ok(resources)
}

/// `HW_CPU_X86_VMX,!CUSTOM_MAGIC`; forbidden ones from 1.22.
pub(super) fn traits(caller: &Caller, name: &str, text: &str, rules: &mut TraitRules) -> Result<(), ApiError> {
    for entry in text.split(',') {
        let (set, required) = match entry.strip_prefix('!') {
            Some(forbidden) if caller.since(22) => (&mut rules.forbidden, forbidden),
            _ => (&mut rules.required, entry),
        };
        if !names::is_well_formed(required) {
            return Err(ApiError::bad_query(format!(
                "Invalid query string parameters: Expected '{name}' parameter value of the form: \
                 HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {text}"
            )));
        }
        set.insert(required.to_owned());
    }
    if let Some(both) = rules.required.intersection(&rules.forbidden).next() {
        return Err(ApiError::bad_query(format!(
            "Conflicting required and forbidden traits found in the following traits keys: {name}: ({both})"
        )));
    }
    Ok(())
}

/// Whether `member_of` asks for an aggregate: no provider is in one. Forbidden ones (1.32) are then always avoided.
pub(super) fn member_of(caller: &Caller, name: &str, values: &[String]) -> Result<bool, ApiError> {
    // Several values mean that all must hold, from 1.24.
    if values.len() > 1 && !caller.since(24) {
        return Err(ApiError::duplicate_key(name));
    }
    let mut asks = false;
    for value in values {
        let positive = value.strip_prefix('!').filter(|_| caller.since(32));
        asks |= positive.is_none();
        let list = positive.unwrap_or(value);
        let uuids = list.strip_prefix("in:").map_or_else(|| vec![list], |list| list.split(',').collect());
        for text in uuids {
            uuid(name, text)?;
        }
    }
    Ok(asks)
}
