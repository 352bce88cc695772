//! Which attributes a resource takes, of which type, from whom: one table per resource, and the check against it.

use kilonova_core::RequestContext;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::NetworkError;
use super::routes::Kind;
use crate::web::parse_bool;

/// Bytes of a name or a description, as Neutron's columns have it.
const MAX_TEXT: usize = 255;

#[derive(Clone, Copy)]
enum Type {
    Text,
    /// Text or null.
    OptionalText,
    Boolean,
    Integer(i64, i64),
    OptionalInteger,
    /// A protocol: text, number or null; kept as text.
    Protocol,
    Id,
    OptionalId,
    Ids,
    Texts,
    Objects,
    Object,
    /// Only null: known, and not supported.
    Null,
    ReadOnly,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setters {
    /// On create only.
    Create,
    /// On create and update.
    Always,
    /// By admins only, on create and update.
    Admin,
    /// By admins only, on create.
    AdminCreate,
    /// By admins only if the value is true.
    AdminIfTrue,
}

struct Attribute {
    name: &'static str,
    kind: Type,
    setters: Setters,
}

const fn attribute(name: &'static str, kind: Type, setters: Setters) -> Attribute {
    Attribute { name, kind, setters }
}

use Setters::{Admin, AdminCreate, AdminIfTrue, Always, Create};

const COMMON: &[Attribute] = &[
    attribute("id", Type::ReadOnly, Create),
    attribute("tenant_id", Type::Text, Create),
    attribute("project_id", Type::Text, Create),
    attribute("description", Type::OptionalText, Always),
    attribute("created_at", Type::ReadOnly, Create),
    attribute("updated_at", Type::ReadOnly, Create),
    attribute("revision_number", Type::ReadOnly, Create),
];

const NETWORK: &[Attribute] = &[
    attribute("name", Type::Text, Always),
    attribute("admin_state_up", Type::Boolean, Always),
    attribute("shared", Type::Boolean, AdminIfTrue),
    attribute("router:external", Type::Boolean, AdminIfTrue),
    attribute("is_default", Type::Boolean, AdminIfTrue),
    attribute("port_security_enabled", Type::Boolean, Always),
    attribute("mtu", Type::Integer(68, 65_535), Always),
    attribute("status", Type::ReadOnly, Create),
    attribute("subnets", Type::ReadOnly, Create),
    attribute("availability_zones", Type::ReadOnly, Create),
];

const SUBNET: &[Attribute] = &[
    attribute("network_id", Type::Id, Create),
    attribute("name", Type::Text, Always),
    attribute("ip_version", Type::Integer(4, 6), Create),
    attribute("cidr", Type::Text, Create),
    attribute("gateway_ip", Type::OptionalText, Always),
    attribute("enable_dhcp", Type::Boolean, Always),
    attribute("dns_nameservers", Type::Texts, Always),
    attribute("host_routes", Type::Objects, Always),
    attribute("allocation_pools", Type::Objects, Always),
    attribute("ipv6_address_mode", Type::OptionalText, Create),
    attribute("ipv6_ra_mode", Type::OptionalText, Create),
    attribute("subnetpool_id", Type::Null, Create),
];

const PORT: &[Attribute] = &[
    attribute("network_id", Type::Id, Create),
    attribute("name", Type::Text, Always),
    attribute("admin_state_up", Type::Boolean, Always),
    attribute("mac_address", Type::Text, Create),
    attribute("fixed_ips", Type::Objects, Always),
    attribute("device_id", Type::Text, Always),
    attribute("device_owner", Type::Text, Always),
    attribute("security_groups", Type::Ids, Always),
    attribute("port_security_enabled", Type::Boolean, Always),
    attribute("binding:host_id", Type::OptionalText, Admin),
    attribute("binding:profile", Type::Object, Admin),
    attribute("binding:vnic_type", Type::Text, Always),
    attribute("binding:vif_type", Type::ReadOnly, Create),
    attribute("binding:vif_details", Type::ReadOnly, Create),
    attribute("trunk_details", Type::ReadOnly, Create),
    attribute("status", Type::ReadOnly, Create),
];

const SECURITY_GROUP: &[Attribute] =
    &[attribute("name", Type::Text, Always), attribute("security_group_rules", Type::ReadOnly, Create)];

const RULE: &[Attribute] = &[
    attribute("security_group_id", Type::Id, Create),
    attribute("direction", Type::Text, Create),
    attribute("ethertype", Type::OptionalText, Create),
    attribute("protocol", Type::Protocol, Create),
    attribute("port_range_min", Type::OptionalInteger, Create),
    attribute("port_range_max", Type::OptionalInteger, Create),
    attribute("remote_ip_prefix", Type::OptionalText, Create),
    attribute("remote_group_id", Type::OptionalId, Create),
];

const ROUTER: &[Attribute] = &[
    attribute("name", Type::Text, Always),
    attribute("admin_state_up", Type::Boolean, Always),
    attribute("external_gateway_info", Type::Object, Always),
    attribute("status", Type::ReadOnly, Create),
];

const FLOATING_IP: &[Attribute] = &[
    attribute("floating_network_id", Type::Id, Create),
    attribute("floating_ip_address", Type::OptionalText, AdminCreate),
    attribute("subnet_id", Type::OptionalId, Create),
    attribute("port_id", Type::OptionalId, Always),
    attribute("fixed_ip_address", Type::OptionalText, Always),
    attribute("router_id", Type::ReadOnly, Create),
    attribute("status", Type::ReadOnly, Create),
];

const TRUNK: &[Attribute] = &[
    attribute("name", Type::Text, Always),
    attribute("admin_state_up", Type::Boolean, Always),
    attribute("port_id", Type::Id, Create),
    attribute("sub_ports", Type::Objects, Create),
    attribute("status", Type::ReadOnly, Create),
];

fn attributes(kind: Kind) -> impl Iterator<Item = &'static Attribute> {
    let own = match kind {
        Kind::Network => NETWORK,
        Kind::Subnet => SUBNET,
        Kind::Port => PORT,
        Kind::SecurityGroup => SECURITY_GROUP,
        Kind::Rule => RULE,
        Kind::Router => ROUTER,
        Kind::FloatingIp => FLOATING_IP,
        Kind::Trunk => TRUNK,
    };
    COMMON.iter().chain(own)
}

/// Whether lists can be sorted by it.
pub(super) fn is_known(kind: Kind, name: &str) -> bool {
    attributes(kind).any(|attribute| attribute.name == name)
}

/// The attributes of a request, checked and converted: a key that is there has the type of the table.
#[derive(Debug, Default)]
pub(super) struct Attributes(Map<String, Value>);

impl Attributes {
    /// Of a `POST`.
    pub(super) fn for_create(kind: Kind, context: &RequestContext, body: &Value) -> Result<Self, NetworkError> {
        Self::parse(kind, context, body, true)
    }

    /// Of a `PUT`.
    pub(super) fn for_update(kind: Kind, context: &RequestContext, body: &Value) -> Result<Self, NetworkError> {
        Self::parse(kind, context, body, false)
    }

    fn parse(kind: Kind, context: &RequestContext, body: &Value, is_create: bool) -> Result<Self, NetworkError> {
        let Value::Object(body) = body else {
            return Err(NetworkError::bad_request(format!("Body contains invalid data for {}", kind.name())));
        };
        let find = |name: &str| attributes(kind).find(|attribute| attribute.name == name);
        let unknown: Vec<&str> = body.keys().map(String::as_str).filter(|name| find(name).is_none()).collect();
        if !unknown.is_empty() {
            return Err(NetworkError::bad_request(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))));
        }
        let mut parsed = Map::new();
        for (name, value) in body {
            let Some(attribute) = find(name) else { continue };
            let (verb, rule) = if is_create { ("POST", "create") } else { ("PUT", "update") };
            if matches!(attribute.kind, Type::ReadOnly)
                || (!is_create && matches!(attribute.setters, Create | AdminCreate))
            {
                return Err(NetworkError::bad_request(format!("Attribute '{name}' not allowed in {verb}")));
            }
            let value = convert(attribute, value)?;
            let is_refused = match attribute.setters {
                Admin | AdminCreate => !context.is_admin,
                AdminIfTrue => !context.is_admin && value == true,
                Create | Always => false,
            };
            if is_refused {
                return Err(NetworkError::forbidden(&format!("{rule}_{}:{name}", kind.name())));
            }
            parsed.insert(name.clone(), value);
        }
        Ok(Self(parsed))
    }

    /// Whether the key was given, be it null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn text_or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i32> {
        i32::try_from(self.0.get(name)?.as_i64()?).ok()
    }

    pub(super) fn id(&self, name: &str) -> Option<Uuid> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        self.0.get(name)?.as_array().map(Vec::as_slice)
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        Some(self.list(name)?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    pub(super) fn ids(&self, name: &str) -> Option<Vec<Uuid>> {
        Some(self.list(name)?.iter().filter_map(|id| id.as_str()?.parse().ok()).collect())
    }

    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// An attribute that a `POST` must have.
    pub(super) fn required(&self, name: &str) -> Result<&str, NetworkError> {
        let missing = || format!("Failed to parse request. Required attribute '{name}' not specified");
        self.text(name).ok_or_else(|| NetworkError::bad_request(missing()))
    }

    /// The project that a new resource belongs to: another than the caller's own only for admins.
    pub(super) fn project_id(&self, kind: Kind, context: &RequestContext) -> Result<String, NetworkError> {
        let wanted = self.text("project_id").or(self.text("tenant_id"));
        match wanted.unwrap_or(context.project_id()) {
            "" => Err(NetworkError::forbidden(&format!("create_{}", kind.name()))),
            project_id if context.is_admin || project_id == context.project_id() => Ok(project_id.to_owned()),
            _ => Err(NetworkError::forbidden(&format!("create_{}:tenant_id", kind.name()))),
        }
    }
}

fn convert(attribute: &Attribute, value: &Value) -> Result<Value, NetworkError> {
    let name = attribute.name;
    let invalid = |reason: String| NetworkError::invalid_attribute(name, reason);
    let text = |value: &Value| match value.as_str() {
        None => Err(invalid(format!("'{value}' is not a valid string"))),
        Some(text) if text.chars().count() > MAX_TEXT => {
            Err(invalid(format!("'{text}' exceeds maximum length of {MAX_TEXT}")))
        }
        Some(text) if text.contains('\0') => Err(invalid("it contains a null character".to_owned())),
        Some(_) => Ok(value.clone()),
    };
    let id = |value: &Value| match value.as_str().map(Uuid::try_parse) {
        Some(Ok(id)) => Ok(Value::from(id.to_string())),
        _ => Err(invalid(format!("'{}' is not a valid UUID", plain(value)))),
    };
    match attribute.kind {
        Type::Text => text(value),
        Type::OptionalText | Type::OptionalId | Type::OptionalInteger | Type::Protocol if value.is_null() => {
            Ok(Value::Null)
        }
        Type::OptionalText => text(value),
        Type::Boolean => boolean(value)
            .map(Value::from)
            .ok_or_else(|| invalid(format!("'{}' cannot be converted to boolean", plain(value)))),
        Type::Integer(min, max) => match integer(value) {
            Some(number) if (min..=max).contains(&number) => Ok(Value::from(number)),
            _ => Err(invalid(format!("'{}' is not an integer from {min} to {max}", plain(value)))),
        },
        Type::OptionalInteger => {
            integer(value).map(Value::from).ok_or_else(|| invalid(format!("'{}' is not an integer", plain(value))))
        }
        Type::Protocol => match value {
            Value::Number(number) => Ok(Value::from(number.to_string())),
            value => text(value),
        },
        Type::Id | Type::OptionalId => id(value),
        Type::Ids => Ok(Value::Array(array(name, value)?.iter().map(id).collect::<Result<_, _>>()?)),
        Type::Texts => Ok(Value::Array(array(name, value)?.iter().map(text).collect::<Result<_, _>>()?)),
        Type::Objects => match array(name, value)?.iter().find(|item| !item.is_object()) {
            Some(item) => Err(invalid(format!("'{}' is not a dictionary", plain(item)))),
            None => Ok(Value::Array(array(name, value)?.to_vec())),
        },
        Type::Object if value.is_null() => Ok(Value::Object(Map::new())),
        Type::Object if value.is_object() => Ok(value.clone()),
        Type::Object => Err(invalid(format!("'{}' is not a dictionary", plain(value)))),
        Type::Null if value.is_null() => Ok(Value::Null),
        Type::Null | Type::ReadOnly => Err(invalid("it cannot be set here".to_owned())),
    }
}

/// Null is no list, and an empty one.
fn array<'a>(name: &str, value: &'a Value) -> Result<&'a [Value], NetworkError> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        other => Err(NetworkError::invalid_attribute(name, format!("'{}' is not a list", plain(other)))),
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => parse_bool(text),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A value in a message: texts without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
