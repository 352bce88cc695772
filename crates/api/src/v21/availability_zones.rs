//! `/os-availability-zone`

use std::collections::{BTreeMap, BTreeSet};

use kilonova_core::time::strtime;
use kilonova_db::services;
use kilonova_objects::Service;
use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, ok};
use crate::compute::{availability_zones, services as compute_services};
use crate::error::ApiError;
use crate::policy::Target;

/// `GET /os-availability-zone`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let zones = Zones::read(&call).await?;
    let internal = call.state.config.internal_service_availability_zone.as_str();
    let named = |names: Vec<&str>, is_available: bool| -> Vec<Value> {
        let shown = names.into_iter().filter(|name| *name != internal);
        shown.map(|name| zone(name, is_available, Value::Null)).collect()
    };
    answer([named(zones.available(), true), named(zones.unavailable(), false)])
}

/// `GET /os-availability-zone/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let zones = Zones::read(&call).await?;
    let available = zones.available().into_iter().map(|name| zone(name, true, zones.hosts(&call, name)));
    let unavailable = zones.unavailable().into_iter().map(|name| zone(name, false, Value::Null));
    answer([available.collect(), unavailable.collect()])
}

fn zone(name: &str, is_available: bool, hosts: Value) -> Value {
    json!({"zoneName": name, "zoneState": {"available": is_available}, "hosts": hosts})
}

fn answer(zones: [Vec<Value>; 2]) -> Answer {
    ok(&json!({"availabilityZoneInfo": zones.concat()}))
}

/// The services by zone.
struct Zones(BTreeMap<String, Vec<Service>>);

impl Zones {
    async fn read(call: &Call) -> Result<Self, ApiError> {
        let by_host = availability_zones::read(&call.state).await?;
        let mut zones: BTreeMap<String, Vec<Service>> = BTreeMap::new();
        for service in services::list(&call.state.db, None, None).await? {
            let zone = by_host.of(&service).to_owned();
            zones.entry(zone).or_default().push(service);
        }
        Ok(Self(zones))
    }

    /// A zone with an enabled service is available, alive or not.
    fn available(&self) -> Vec<&str> {
        self.named(|services| services.iter().any(|service| !service.disabled))
    }

    fn unavailable(&self) -> Vec<&str> {
        self.named(|services| services.iter().all(|service| service.disabled))
    }

    fn named(&self, filter: fn(&[Service]) -> bool) -> Vec<&str> {
        self.0.iter().filter(|(_, services)| filter(services)).map(|(name, _)| name.as_str()).collect()
    }

    /// The enabled services of a zone, by host and binary.
    fn hosts(&self, call: &Call, zone: &str) -> Value {
        let enabled: Vec<&Service> = self.0[zone].iter().filter(|service| shown(service)).collect();
        let names: BTreeSet<&str> = enabled.iter().filter_map(|service| service.host.as_deref()).collect();
        let of_host = |host: &str| -> Map<String, Value> {
            let there = enabled.iter().filter(|service| service.host.as_deref() == Some(host));
            there.map(|service| (service.binary.clone().unwrap_or_default(), state(call, service))).collect()
        };
        names.into_iter().map(|host| (host.to_owned(), Value::Object(of_host(host)))).collect::<Map<_, _>>().into()
    }
}

fn shown(service: &Service) -> bool {
    !service.disabled && !compute_services::is_api(service)
}

fn state(call: &Call, service: &Service) -> Value {
    json!({
        "available": compute_services::is_up(&call.state, service),
        "active": true,
        "updated_at": service.updated_at.map(strtime),
    })
}
