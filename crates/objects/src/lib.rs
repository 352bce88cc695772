//! The domain model: plain structs inside, Nova's versioned-object form (`nova_object.name`, `.version`, `.data`,
//! `.changes`) at the RPC edge only.
//!
//! Each object is declared once, with [`versioned_object!`]; its wire form follows from the declaration. Names,
//! versions and fields are Nova's.

pub mod aggregate;
mod block_device;
mod compute_node;
mod console_auth_token;
mod diagnostics;
mod external_event;
mod flavor;
mod image_meta;
mod instance;
mod instance_action;
mod keypair;
pub mod migration;
pub mod network_model;
mod request_spec;
mod service;
pub mod state;
mod task_log;
pub mod wire;

pub use aggregate::{Aggregate, AggregateList};
pub use block_device::{BlockDeviceMapping, BlockDeviceMappingList};
pub use compute_node::{ComputeNode, ComputeNodeList};
pub use console_auth_token::ConsoleAuthToken;
pub use diagnostics::{CpuDiagnostics, Diagnostics, DiskDiagnostics, MemoryDiagnostics, NicDiagnostics};
pub use external_event::InstanceExternalEvent;
pub use flavor::Flavor;
pub use image_meta::{ImageMeta, ImageMetaProps};
pub use instance::{
    BuildRequest, Ec2Ids, Instance, InstanceFault, InstanceInfoCache, InstanceList, InstancePciRequests, SecurityGroup,
    SecurityGroupList, Tag, TagList,
};
pub use instance_action::{InstanceAction, InstanceActionEvent};
pub use keypair::{KeyPair, KeyPairList};
pub use migration::{LiveMigrateData, Migration, MigrationList};
pub use network_model::NetworkInfo;
pub use request_spec::{
    Destination, InstanceGroup, NETWORK_ID_AUTO, NETWORK_ID_NONE, NetworkMetadata, NetworkRequest, NetworkRequestList,
    RequestLevelParams, RequestSpec, SchedulerLimits, SchedulerRetries, Selection,
};
pub use service::{Service, ServiceList};
pub use state::{PowerState, TaskState, VmState};
pub use task_log::TaskLog;
pub use wire::{Tracked, Wire, WireError};
