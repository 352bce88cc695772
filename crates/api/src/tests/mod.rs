//! HTTP-level tests: a request goes through the whole API, over an SQLite file, fakes for the other services, and a
//! recording conductor and compute agent on the memory transport.

mod aggregates;
mod availability_zones;
mod cloud;
mod extensions;
mod flavor_access;
mod flavor_extra_specs;
mod flavors;
mod framework;
mod hosts;
mod hypervisors;
mod images;
mod keypairs;
mod limits;
mod placement;
mod policy;
mod quota_class_sets;
mod quota_sets;
mod routes;
mod server_groups;
mod servers;
mod services;
mod simple_tenant_usage;
