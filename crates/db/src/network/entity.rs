//! The tables of network.
#![allow(missing_docs, unreachable_pub, reason = "the derives of sea-orm make public items without docs")]

pub(super) mod network {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A network.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "networks")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its name; need not be unique.
        pub name: String,
        /// What the user wants it to be.
        pub admin_state_up: bool,
        /// Usable by every project.
        pub is_shared: bool,
        /// Leads outside.
        pub is_external: bool,
        /// The external network that is taken where none is named.
        pub is_default: bool,
        /// What ports made on it start with.
        pub port_security_enabled: bool,
        /// Bytes.
        pub mtu: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod subnet {
    use chrono::{DateTime, Utc};
    use sea_orm::FromJsonQueryResult;
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    /// A subnet.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "subnets")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its network.
        pub network_id: Uuid,
        /// Its name; need not be unique.
        pub name: String,
        /// 4 or 6.
        pub ip_version: i32,
        /// Like `10.0.0.0/24`.
        pub cidr: String,
        /// The router, if there is one.
        pub gateway_ip: Option<String>,
        /// Whether guests are told their address by DHCP.
        pub enable_dhcp: bool,
        /// Name servers.
        pub dns_nameservers: Addresses,
        /// Further routes.
        pub host_routes: HostRoutes,
        /// Where addresses are taken from.
        pub allocation_pools: AllocationPools,
        /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
        pub ipv6_address_mode: Option<String>,
        /// The same values, for the router's part.
        pub ipv6_ra_mode: Option<String>,
    }

    /// Addresses as text.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct Addresses(pub Vec<String>);

    /// Routes.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct HostRoutes(pub Vec<HostRoute>);

    /// A route of the guests on a subnet.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct HostRoute {
        /// Like `10.1.0.0/16`.
        pub destination: String,
        /// The router.
        pub nexthop: String,
    }

    /// Pools, in the order in which they are used.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct AllocationPools(pub Vec<AllocationPool>);

    /// A range of addresses, both ends included.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct AllocationPool {
        /// The lowest.
        pub start: String,
        /// The highest.
        pub end: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod port {
    use chrono::{DateTime, Utc};
    use sea_orm::FromJsonQueryResult;
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    /// A port without its addresses and security groups.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ports")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its network.
        pub network_id: Uuid,
        /// Its name; need not be unique.
        pub name: String,
        /// MAC address, lower case, with colons.
        pub mac_address: String,
        /// What the user wants it to be.
        pub admin_state_up: bool,
        /// `ACTIVE` or `DOWN`.
        pub status: String,
        /// The server that has it, or the empty string.
        pub device_id: String,
        /// `compute:nova`, `network:…`, or the empty string.
        pub device_owner: String,
        /// Whether security groups apply.
        pub port_security_enabled: bool,
        /// The host of the server, or the empty string.
        pub binding_host_id: String,
        /// `normal`.
        pub binding_vnic_type: String,
        /// What the owner gave.
        pub binding_profile: Profile,
        /// Made by compute for its server, and deleted with it.
        pub is_made_for_server: bool,
    }

    /// Free form.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct Profile(pub serde_json::Map<String, serde_json::Value>);

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod ip_allocation {
    use sea_orm::entity::prelude::*;

    /// An address that a port has.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ip_allocations")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub subnet_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub address: String,
        pub port_id: Uuid,
        pub position: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod security_group {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A security group without its rules.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "security_groups")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its name; need not be unique.
        pub name: String,
        /// The project whose default group it is.
        pub default_for: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod rule {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A rule of a security group: what it lets through.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "security_group_rules")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its group.
        pub security_group_id: Uuid,
        /// `ingress` or `egress`.
        pub direction: String,
        /// `IPv4` or `IPv6`.
        pub ethertype: String,
        /// A name or number; none for every protocol.
        pub protocol: Option<String>,
        /// Lowest port, or ICMP type.
        pub port_range_min: Option<i32>,
        /// Highest port, or ICMP code.
        pub port_range_max: Option<i32>,
        /// The other side, as a CIDR.
        pub remote_ip_prefix: Option<String>,
        /// The other side, as the ports in a group.
        pub remote_group_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod port_security_group {
    use sea_orm::entity::prelude::*;

    /// A security group of a port.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "port_security_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub port_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub security_group_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod router {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A router without its ports.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "routers")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its name; need not be unique.
        pub name: String,
        /// What the user wants it to be.
        pub admin_state_up: bool,
        /// Whether what leaves by the gateway has the gateway's address.
        pub enable_snat: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod floating_ip {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A floating address.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "floating_ips")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// The external network.
        pub floating_network_id: Uuid,
        /// The port that has the address.
        pub floating_port_id: Uuid,
        /// The port that it leads to.
        pub fixed_port_id: Option<Uuid>,
        /// The address of that port; means nothing without the port.
        pub fixed_ip_address: Option<String>,
        /// The router in between; means nothing without the port.
        pub router_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod auto_allocated_topology {
    use sea_orm::entity::prelude::*;

    /// What a project got because it had no network.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auto_allocated_topologies")]
    pub struct Model {
        /// The project.
        #[sea_orm(primary_key, auto_increment = false)]
        pub project_id: String,
        /// Its network.
        pub network_id: Uuid,
        /// The way out of that.
        pub router_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod trunk {
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    /// A trunk without its subports.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "trunks")]
    pub struct Model {
        /// Its id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// Its project.
        pub project_id: String,
        /// Free text.
        pub description: String,
        /// One more with every change.
        pub revision_number: i64,
        /// When it was made.
        pub created_at: DateTime<Utc>,
        /// When it was changed.
        pub updated_at: DateTime<Utc>,
        /// Its name; need not be unique.
        pub name: String,
        /// What the user wants it to be; one that is down takes and gives no subports.
        pub admin_state_up: bool,
        /// The port that it is reached through.
        pub port_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod trunk_subport {
    use sea_orm::entity::prelude::*;

    /// A port that a trunk carries.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "trunk_subports")]
    pub struct Model {
        /// The port.
        #[sea_orm(primary_key, auto_increment = false)]
        pub port_id: Uuid,
        /// Its trunk.
        pub trunk_id: Uuid,
        /// How its traffic is told from others': `vlan`.
        pub segmentation_type: String,
        /// The tag by which it is.
        pub segmentation_id: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
