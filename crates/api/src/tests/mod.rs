//! HTTP-level tests: a request goes through the whole API, over an SQLite file, fakes for the other services, and a
//! recording conductor and compute agent on the memory transport.

mod aggregates;
mod assisted_volume_snapshots;
mod availability_zones;
mod baremetal_nodes;
mod cloud;
mod extensions;
mod flavor_access;
mod flavor_extra_specs;
mod flavors;
mod framework;
mod gone;
mod hosts;
mod hypervisors;
mod images;
mod instance_usage_audit_log;
mod keypairs;
mod ledger;
mod limits;
mod microversions;
mod network_proxies;
mod openapi;
mod os_hosts;
mod placement;
mod policy;
mod quota_class_sets;
mod quota_sets;
mod routes;
mod server_external_events;
mod server_groups;
mod servers;
mod services;
mod simple_tenant_usage;
mod volumes;
mod volumes_boot;
