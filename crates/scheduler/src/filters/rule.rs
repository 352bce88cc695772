//! Rules of the operator's own: each line `[filter_scheduler] rules` is a condition in CEL that a host must meet.
//!
//! ```text
//! host      attributes by their names in Nova (free_ram_mb, vcpus_total, hypervisor_type, …), `cpu_info` and `stats` as
//!           maps, `availability_zone`, `traits` (names), `aggregates` (maps of name, uuid and metadata)
//! request   project_id, user_id, availability_zone, num_instances, `flavor` (name, vcpus, memory_mb, root_gb,
//!           ephemeral_gb, swap, extra_specs), `image` (id, name, properties), `hints` (lists of texts)
//! ```
//!
//! What is not known is left out: `has(host.stats.rack)` asks. A rule that fails on a host, or is neither true nor false
//! there, refuses it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};
use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;
use serde_json::json;

use super::{GROUP, HostFilter};
use crate::asked::Asked;
use crate::host_state::HostState;

/// One rule.
pub(super) struct Rule {
    source: String,
    program: Program,
    env: Arc<Env>,
    uses_host: bool,
    uses_request: bool,
}

impl Rule {
    /// All rules of the configuration, with a name for the report.
    pub(super) fn all(config: &Config) -> Result<Vec<(String, Self)>, ConfigError> {
        let env = Arc::new(Env::stdlib());
        let rules = config.get_all(GROUP, "rules").into_iter();
        rules.map(|source| Self::new(&env, source).map(|rule| (format!("rule {}", rule.source), rule))).collect()
    }

    fn new(env: &Arc<Env>, source: String) -> Result<Self, ConfigError> {
        let program = env.compile(&source).map_err(|errors| {
            let first = errors.to_string().lines().next().unwrap_or_default().to_owned();
            ConfigError::Value {
                group: GROUP.to_owned(),
                name: "rules".to_owned(),
                value: source.clone(),
                expected: format!("a condition in CEL ({first})"),
            }
        })?;
        let uses = |name| program.references().has_variable(name);
        let (uses_host, uses_request) = (uses("host"), uses("request"));
        Ok(Self { source, program, env: env.clone(), uses_host, uses_request })
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.source).finish()
    }
}

impl HostFilter for Rule {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let mut context = Context::with_env(self.env.clone());
        if self.uses_host {
            context.add_variable_from_value("host", to_cel(&host_attributes(host)));
        }
        if self.uses_request {
            context.add_variable_from_value("request", to_cel(&request_attributes(asked.spec)));
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(passes)) => passes,
            Ok(other) => {
                tracing::debug!(rule = self.source, host = host.host(), ?other, "a rule is neither true nor false");
                false
            }
            Err(error) => {
                tracing::debug!(rule = self.source, host = host.host(), %error, "a rule failed");
                false
            }
        }
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

fn host_attributes(host: &HostState) -> serde_json::Value {
    let mut attributes = host.own_attributes();
    let aggregate = |one: &Arc<kilonova_objects::Aggregate>| json!({"name": one.name, "uuid": one.uuid, "metadata": one.metadata.as_ref().map(|metadata| json!(metadata))});
    attributes.insert("aggregates".to_owned(), host.input.aggregates.iter().map(aggregate).collect());
    attributes.insert("traits".to_owned(), json!(host.traits));
    attributes.insert("availability_zone".to_owned(), json!(host.input.availability_zone));
    serde_json::Value::Object(attributes)
}

fn request_attributes(spec: &RequestSpec) -> serde_json::Value {
    let flavor = &spec.flavor;
    json!({
        "project_id": spec.project_id,
        "user_id": spec.user_id,
        "availability_zone": spec.availability_zone,
        "num_instances": spec.num_instances,
        "hints": spec.scheduler_hints,
        "flavor": {
            "name": flavor.name,
            "vcpus": flavor.vcpus,
            "memory_mb": flavor.memory_mb,
            "root_gb": flavor.root_gb,
            "ephemeral_gb": flavor.ephemeral_gb,
            "swap": flavor.swap,
            "extra_specs": flavor.extra_specs,
        },
        "image": spec.image.as_ref().map(|image| json!({
            "id": image.id,
            "name": image.name,
            "properties": image.properties.0,
        })),
    })
}

/// Integers are CEL's `int`, whatever their sign. What is null is left out of maps.
fn to_cel(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        serde_json::Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            let map: HashMap<Key, Value> = known.map(|(key, value)| (key.clone().into(), to_cel(value))).collect();
            Value::Map(Map { map: Arc::new(map) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::filters::testing::{asked, host_in, options, with_extra_specs};

    fn passes(rule: &str) -> bool {
        let mut host = host_in("a", &[&[("ssd", "true")]]);
        let input = Arc::make_mut(&mut host.input);
        input.node.vcpus = 8;
        input.node.cpu_info = Some(r#"{"vendor": "AMD"}"#.to_owned());
        input.node.stats = Some(BTreeMap::from([("rack".to_owned(), Some("r1".to_owned()))]));
        host.traits = vec!["HW_A".to_owned()];
        host.capacity_for_test(&[("MEMORY_MB", 2048)]);
        let mut spec = with_extra_specs(&[("tier", "gold")]);
        spec.flavor.memory_mb = 1024;
        spec.project_id = Some("p1".to_owned());
        let rules = Rule::all(&options(&format!("rules = {rule}"))).unwrap();
        rules.iter().all(|(_, rule)| rule.passes(&host, &asked(&spec)))
    }

    #[test]
    fn a_rule_sees_the_host_and_the_request() {
        for (rule, passed) in [
            ("true", true),
            ("false", false),
            ("host.free_ram_mb >= 2048", true),
            ("host.free_ram_mb > 2048", false),
            ("host.free_ram_mb - request.flavor.memory_mb >= 1024", true),
            ("host.free_ram_mb - request.flavor.memory_mb >= 1025", false),
            (r#"host.host == "a""#, true),
            ("host.host == 'a' && host.vcpus_total == 8", true),
            ("host.cpu_info.vendor == 'AMD'", true),
            ("host.stats.rack in ['r1', 'r2']", true),
            ("host.stats.rack == 'r3' || request.project_id.startsWith('q')", false),
            ("'HW_A' in host.traits && !('HW_B' in host.traits)", true),
            ("host.aggregates.exists(a, a.metadata.ssd == 'true')", true),
            ("host.aggregates.exists(a, a.metadata.ssd == 'false')", false),
            ("request.flavor.extra_specs.tier == 'gold' ? host.vcpus_total > 4 : true", true),
            ("request.flavor.extra_specs.tier == 'gold' ? host.vcpus_total > 9 : true", false),
            ("has(host.stats.rack)", true),
            ("has(host.stats.pony)", false),
            ("!has(request.image)", true),
        ] {
            assert_eq!(passes(rule), passed, "{rule}");
        }
    }

    #[test]
    fn a_rule_that_fails_or_says_neither_refuses_the_host() {
        for rule in ["host.pony == 1", "pony", "host.stats.rack + 1 == 2", "1", "('tr' + 'ue')", "host", "1 / 0 == 1"] {
            assert!(!passes(rule), "{rule}");
        }
    }

    #[test]
    fn every_line_is_a_rule_and_all_must_hold() {
        assert!(passes("true\nrules = host.vcpus_total == 8"));
        assert!(!passes("host.vcpus_total == 8\nrules = false"));
        assert!(Rule::all(&Config::empty()).unwrap().is_empty());
    }

    #[test]
    fn a_rule_that_does_not_parse_is_an_error_that_names_the_option() {
        for rule in ["host.", "1 +", "host.free_ram_mb >", "(", "a b", "'open"] {
            let error = Rule::all(&options(&format!("rules = true\nrules = {rule}"))).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("[filter_scheduler] rules: {rule:?} is not a condition in CEL")),
                "{error}"
            );
        }
    }
}
