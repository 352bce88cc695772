//! The versioned-object form of Nova's objects, and the macro that declares an object.
//!
//! ```text
//! {"nova_object.name": "Flavor", "nova_object.namespace": "nova", "nova_object.version": "1.2",
//!  "nova_object.data": {only the fields that are set}, "nova_object.changes": [names, left out when empty]}
//! ```
//!
//! *Unset* and *null* differ there: unset means that a Python reader may load the field later, null is a value. A
//! struct here has a value in every field and remembers in `set` which ones were on the wire; a field that was unset
//! and still has its default value stays unset when the object is written again.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use chrono::{DateTime, NaiveDateTime, Utc};
use kilonova_core::time::isotime;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What came over the wire is not the object that was expected.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum WireError {
    /// A value has another type.
    #[error("expected {expected}, got {got}")]
    Type {
        /// What was expected.
        expected: &'static str,
        /// What came, shortened.
        got: String,
    },
    /// A field without which the object has no meaning is not there.
    #[error("the field is not set")]
    Missing,
    /// The object's version cannot be read here.
    #[error("{name} is of version {got}, which version {own} cannot read")]
    Incompatible {
        /// Object name.
        name: &'static str,
        /// Version that came.
        got: String,
        /// Version known here.
        own: &'static str,
    },
    /// Where in an object the error is.
    #[error("{object}.{field}: {source}")]
    Field {
        /// Object name.
        object: &'static str,
        /// Field name.
        field: &'static str,
        /// What is wrong with it.
        source: Box<WireError>,
    },
}

impl WireError {
    /// For a value of another type than `expected`.
    pub fn type_of(expected: &'static str, got: &Value) -> Self {
        let mut got = got.to_string();
        if let Some((at, _)) = got.char_indices().nth(80) {
            got.truncate(at);
        }
        Self::Type { expected, got }
    }
}

/// A value with a form on the wire.
pub trait Wire: Sized {
    /// The form on the wire.
    fn to_wire(&self) -> Value;

    /// From the form on the wire.
    fn from_wire(value: &Value) -> Result<Self, WireError>;

    /// What an unset field reads as, if it may be unset at all.
    fn when_unset() -> Option<Self>;
}

macro_rules! plain_wire {
    ($type:ty, $expected:literal, $read:expr) => {
        impl Wire for $type {
            fn to_wire(&self) -> Value {
                json!(self)
            }
            fn from_wire(value: &Value) -> Result<Self, WireError> {
                let read: fn(&Value) -> Option<$type> = $read;
                read(value).ok_or_else(|| WireError::type_of($expected, value))
            }
            fn when_unset() -> Option<Self> {
                Some(Self::default())
            }
        }
    };
}

plain_wire!(String, "a string", |value| value.as_str().map(str::to_owned));
plain_wire!(bool, "a boolean", |value| value.as_bool());
plain_wire!(f64, "a number", |value| value.as_f64());
plain_wire!(i64, "an integer", |value| value.as_i64());
plain_wire!(i32, "an integer", |value| value.as_i64()?.try_into().ok());

impl Wire for Uuid {
    fn to_wire(&self) -> Value {
        json!(self.to_string())
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        let text = value.as_str().and_then(|text| text.parse().ok());
        text.ok_or_else(|| WireError::type_of("a UUID", value))
    }
    fn when_unset() -> Option<Self> {
        None
    }
}

impl Wire for DateTime<Utc> {
    fn to_wire(&self) -> Value {
        json!(isotime(*self))
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        let text = value.as_str().map(|text| text.trim_end_matches('Z'));
        let naive = text.and_then(|text| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok());
        naive.map(|naive| naive.and_utc()).ok_or_else(|| WireError::type_of("a date and time", value))
    }
    fn when_unset() -> Option<Self> {
        Some(Self::default())
    }
}

/// What a method answers that answers nothing.
impl Wire for () {
    fn to_wire(&self) -> Value {
        Value::Null
    }
    fn from_wire(_: &Value) -> Result<Self, WireError> {
        Ok(())
    }
    fn when_unset() -> Option<Self> {
        Some(())
    }
}

/// An object or a value that Kilonova passes on as it came.
impl Wire for Value {
    fn to_wire(&self) -> Value {
        self.clone()
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        Ok(value.clone())
    }
    fn when_unset() -> Option<Self> {
        Some(Value::Null)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn to_wire(&self) -> Value {
        self.as_ref().map_or(Value::Null, Wire::to_wire)
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        if value.is_null() { Ok(None) } else { T::from_wire(value).map(Some) }
    }
    fn when_unset() -> Option<Self> {
        Some(None)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn to_wire(&self) -> Value {
        (**self).to_wire()
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        T::from_wire(value).map(Box::new)
    }
    fn when_unset() -> Option<Self> {
        T::when_unset().map(Box::new)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn to_wire(&self) -> Value {
        Value::Array(self.iter().map(Wire::to_wire).collect())
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        let items = value.as_array().ok_or_else(|| WireError::type_of("a list", value))?;
        items.iter().map(T::from_wire).collect()
    }
    fn when_unset() -> Option<Self> {
        Some(Vec::new())
    }
}

impl<T: Wire> Wire for BTreeMap<String, T> {
    fn to_wire(&self) -> Value {
        Value::Object(self.iter().map(|(key, value)| (key.clone(), value.to_wire())).collect())
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        let map = value.as_object().ok_or_else(|| WireError::type_of("a dict", value))?;
        map.iter().map(|(key, value)| Ok((key.clone(), T::from_wire(value)?))).collect()
    }
    fn when_unset() -> Option<Self> {
        Some(BTreeMap::new())
    }
}

/// Which fields of an object are on the wire, by their place in the declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSet(u128);

impl FieldSet {
    /// No field.
    pub const NONE: Self = Self(0);
    /// Every field.
    pub const ALL: Self = Self(u128::MAX);

    /// With the field at `place` as given.
    pub const fn with(self, place: u32, set: bool) -> Self {
        if set { Self(self.0 | (1 << place)) } else { Self(self.0 & !(1 << place)) }
    }

    /// Whether the field at `place` is set.
    pub const fn has(self, place: u32) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// One of Nova's objects.
pub trait VersionedObject: Wire + Clone {
    /// Nova's class name.
    const NAME: &'static str;
    /// The version that is written, and the newest that is read.
    const VERSION: &'static str;

    /// The fields that are set.
    fn data(&self) -> Map<String, Value>;

    /// From the fields that are set; unknown ones are ignored.
    fn from_data(data: &Map<String, Value>) -> Result<Self, WireError>;
}

/// Wraps `data` as an object on the wire.
pub fn envelope<T: VersionedObject>(data: Map<String, Value>, changes: &[String]) -> Value {
    let mut object = Map::with_capacity(5);
    object.insert("nova_object.name".to_owned(), json!(T::NAME));
    object.insert("nova_object.namespace".to_owned(), json!("nova"));
    object.insert("nova_object.version".to_owned(), json!(T::VERSION));
    object.insert("nova_object.data".to_owned(), Value::Object(data));
    if !changes.is_empty() {
        object.insert("nova_object.changes".to_owned(), json!(changes));
    }
    Value::Object(object)
}

/// Checks name and version of an object on the wire and returns its data.
pub fn open<T: VersionedObject>(value: &Value) -> Result<&Map<String, Value>, WireError> {
    if value.get("nova_object.name").and_then(Value::as_str) != Some(T::NAME) {
        return Err(WireError::type_of(T::NAME, value));
    }
    let version = value.get("nova_object.version").and_then(Value::as_str).unwrap_or_default();
    if !readable(T::VERSION, version) {
        return Err(WireError::Incompatible { name: T::NAME, got: version.to_owned(), own: T::VERSION });
    }
    let data = value.get("nova_object.data").and_then(Value::as_object);
    data.ok_or_else(|| WireError::type_of(T::NAME, value))
}

/// The names under `nova_object.changes`.
pub fn changes(value: &Value) -> Vec<String> {
    let names = value.get("nova_object.changes").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Same major version, and a minor one that is not newer than our own.
fn readable(own: &str, other: &str) -> bool {
    let parts = |version: &str| -> Option<(u32, u32)> {
        let mut numbers = version.split('.').map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (parts(own), parts(other)) {
        (Some((own_major, own_minor)), Some((major, minor))) => own_major == major && minor <= own_minor,
        _ => false,
    }
}

/// An object and what it was when it was read or last saved: the difference is what a save writes.
#[derive(Clone, Debug)]
pub struct Tracked<T> {
    current: T,
    saved: T,
}

impl<T: VersionedObject> Tracked<T> {
    /// Starts without changes.
    pub fn new(object: T) -> Self {
        Self { saved: object.clone(), current: object }
    }

    /// Names of the fields that differ from the saved object.
    pub fn changes(&self) -> Vec<String> {
        let (now, before) = (self.current.data(), self.saved.data());
        now.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, _)| name.clone()).collect()
    }

    /// The object on the wire with its changes named.
    pub fn to_wire_with_changes(&self) -> Value {
        envelope::<T>(self.current.data(), &self.changes())
    }

    /// The changes were saved.
    pub fn reset_changes(&mut self) {
        self.saved = self.current.clone();
    }

    /// The object without its history.
    pub fn into_inner(self) -> T {
        self.current
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.current
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.current
    }
}

/// A field's name on the wire: a Rust keyword sheds its `r#`.
pub fn field_name(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Declares one of Nova's objects: a struct whose fields are all public, and its wire form.
///
/// A field behind `lazy` starts unset: it is written only once it has another value than its default, or when it was
/// set in what was read.
#[macro_export]
macro_rules! versioned_object {
    (
        $(#[$meta:meta])*
        $name:ident, $nova:expr, $version:literal, {
            $( $(#[$field_meta:meta])* $([$lazy:ident])? $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* #[allow(missing_docs, reason = "the field's name is Nova's")] pub $field: $type, )*
            /// Which fields are on the wire.
            pub set: $crate::wire::FieldSet,
        }

        const _: () = {
            #[allow(non_camel_case_types, clippy::enum_variant_names)]
            enum Place { $( $field ),* }

            impl Default for $name {
                fn default() -> Self {
                    let set = $crate::wire::FieldSet::ALL;
                    $( $( let set = { stringify!($lazy); set.with(Place::$field as u32, false) }; )? )*
                    Self { $( $field: <$type>::default(), )* set }
                }
            }

            impl $crate::wire::VersionedObject for $name {
                const NAME: &'static str = $nova;
                const VERSION: &'static str = $version;

                fn data(&self) -> serde_json::Map<String, serde_json::Value> {
                    let mut data = serde_json::Map::new();
                    $(
                        if self.set.has(Place::$field as u32) || self.$field != <$type>::default() {
                            data.insert($crate::wire::field_name(stringify!($field)).to_owned(), $crate::wire::Wire::to_wire(&self.$field));
                        }
                    )*
                    data
                }

                fn from_data(
                    data: &serde_json::Map<String, serde_json::Value>,
                ) -> Result<Self, $crate::wire::WireError> {
                    let at = |field: &'static str, source: $crate::wire::WireError| {
                        $crate::wire::WireError::Field { object: $nova, field, source: Box::new(source) }
                    };
                    let mut set = $crate::wire::FieldSet::NONE;
                    $(
                        let $field = match data.get($crate::wire::field_name(stringify!($field))) {
                            Some(value) => {
                                set = set.with(Place::$field as u32, true);
                                <$type as $crate::wire::Wire>::from_wire(value)
                                    .map_err(|source| at(stringify!($field), source))?
                            }
                            None => <$type as $crate::wire::Wire>::when_unset()
                                .ok_or_else(|| at(stringify!($field), $crate::wire::WireError::Missing))?,
                        };
                    )*
                    Ok(Self { $( $field, )* set })
                }
            }

            impl $crate::wire::Wire for $name {
                fn to_wire(&self) -> serde_json::Value {
                    $crate::wire::envelope::<Self>($crate::wire::VersionedObject::data(self), &[])
                }
                fn from_wire(value: &serde_json::Value) -> Result<Self, $crate::wire::WireError> {
                    $crate::wire::VersionedObject::from_data($crate::wire::open::<Self>(value)?)
                }
                fn when_unset() -> Option<Self> {
                    Some(Self::default())
                }
            }
        };
    };
}

/// Declares one of Nova's list objects.
#[macro_export]
macro_rules! object_list {
    ($(#[$meta:meta])* $name:ident, $version:literal, $item:ty) => {
        $crate::versioned_object! {
            $(#[$meta])*
            $name, stringify!($name), $version, { objects: Vec<$item> }
        }

        impl From<Vec<$item>> for $name {
            fn from(objects: Vec<$item>) -> Self {
                Self { objects, ..Self::default() }
            }
        }
    };
}
