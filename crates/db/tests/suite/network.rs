//! The rows of the built-in network service.

use std::net::Ipv4Addr;
use std::slice::from_ref;

use kilonova_db::network::ports::{self, PortFilter};
use kilonova_db::network::trunks::{Binding, Membership, Trunk};
use kilonova_db::network::{
    self, Addresses, AllocationPool, AllocationPools, FixedIp, HostRoute, HostRoutes, NetworkRow, Port, PortRow,
    Profile, Resource, RuleRow, SecurityGroupRow, SubnetRow, SubportRow, TrunkRow, networks, rules, security_groups,
    subnets, trunks,
};
use kilonova_db::{Db, DbError};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

fn network() -> NetworkRow {
    NetworkRow {
        id: Uuid::new_v4(),
        project_id: PROJECT.into(),
        description: String::new(),
        revision_number: 1,
        created_at: at(1),
        updated_at: at(2),
        name: "private".into(),
        admin_state_up: true,
        is_shared: false,
        is_external: false,
        is_default: false,
        port_security_enabled: true,
        mtu: 1500,
    }
}

fn subnet(network_id: Uuid) -> SubnetRow {
    SubnetRow {
        id: Uuid::new_v4(),
        project_id: PROJECT.into(),
        description: String::new(),
        revision_number: 1,
        created_at: at(1),
        updated_at: at(2),
        network_id,
        name: String::new(),
        ip_version: 4,
        cidr: "10.0.0.0/24".into(),
        gateway_ip: None,
        enable_dhcp: true,
        dns_nameservers: Addresses(vec!["192.0.2.1".into()]),
        host_routes: HostRoutes(vec![HostRoute { destination: "10.1.0.0/16".into(), nexthop: "10.0.0.2".into() }]),
        allocation_pools: AllocationPools(vec![AllocationPool { start: "10.0.0.2".into(), end: "10.0.0.254".into() }]),
        ipv6_address_mode: None,
        ipv6_ra_mode: None,
    }
}

fn port(network_id: Uuid, mac_address: &str) -> Port {
    let row = PortRow {
        id: Uuid::new_v4(),
        project_id: PROJECT.into(),
        description: String::new(),
        revision_number: 1,
        created_at: at(1),
        updated_at: at(2),
        network_id,
        name: String::new(),
        mac_address: mac_address.into(),
        admin_state_up: true,
        status: "DOWN".into(),
        device_id: "server".into(),
        device_owner: "compute:nova".into(),
        port_security_enabled: true,
        binding_host_id: String::new(),
        binding_vnic_type: "normal".into(),
        binding_profile: Profile(fields(json!({"a": [1]}))),
        is_made_for_server: true,
    };
    Port { row, fixed_ips: Vec::new(), security_groups: Vec::new() }
}

fn group(default_for: Option<&str>) -> SecurityGroupRow {
    SecurityGroupRow {
        id: Uuid::new_v4(),
        project_id: PROJECT.into(),
        description: String::new(),
        revision_number: 1,
        created_at: at(1),
        updated_at: at(2),
        name: "default".into(),
        default_for: default_for.map(str::to_owned),
    }
}

fn rule(group: &SecurityGroupRow, remote_group_id: Option<Uuid>) -> RuleRow {
    RuleRow {
        id: Uuid::new_v4(),
        project_id: PROJECT.into(),
        description: String::new(),
        revision_number: 1,
        created_at: at(1),
        updated_at: at(2),
        security_group_id: group.id,
        direction: "ingress".into(),
        ethertype: "IPv4".into(),
        protocol: Some("tcp".into()),
        port_range_min: Some(22),
        port_range_max: Some(22),
        remote_ip_prefix: None,
        remote_group_id,
    }
}

async fn fill(db: &Db) -> (NetworkRow, SubnetRow) {
    let network = network();
    let subnet = subnet(network.id);
    let tx = db.begin().await.unwrap();
    networks::insert(&tx, &network).await.unwrap();
    subnets::insert(&tx, &subnet).await.unwrap();
    tx.commit().await.unwrap();
    (network, subnet)
}

fn address(last: u8) -> u128 {
    network::address_to_number(Ipv4Addr::new(10, 0, 0, last).into())
}

#[tokio::test]
async fn networks_subnets_ports_and_groups_read_back_whole() {
    on_database(async |db| {
        let (network, subnet) = fill(db).await;
        let (group, mut port) = (group(Some(PROJECT)), port(network.id, "fa:16:3e:00:00:01"));
        port.fixed_ips = [9, 3].map(|last| FixedIp { subnet_id: subnet.id, address: address(last) }).into();
        port.security_groups = vec![group.id];
        let rules = [rule(&group, Some(group.id)), rule(&group, None)];
        let tx = db.begin().await.unwrap();
        security_groups::insert(&tx, &group).await.unwrap();
        rules::insert(&tx, &rules).await.unwrap();
        ports::insert(&tx, &port).await.unwrap();
        tx.commit().await.unwrap();

        let conn = db.read();
        assert_eq!(networks::get(conn, network.id).await.unwrap(), Some(network.clone()));
        assert_eq!(subnets::list_by_networks(conn, &[network.id]).await.unwrap(), from_ref(&subnet));
        assert_eq!(ports::get(conn, port.row.id).await.unwrap(), Some(port.clone()), "addresses in their order");
        let of_server = PortFilter { device_ids: Some(vec!["server"]), ..PortFilter::default() };
        assert_eq!(ports::list(conn, of_server).await.unwrap(), from_ref(&port));
        assert_eq!(ports::list_devices(conn, "compute:").await.unwrap(), ["server"]);
        assert_eq!(security_groups::get_default(conn, PROJECT).await.unwrap(), Some(group.clone()));
        assert_eq!(rules::list_by_groups(conn, &[group.id]).await.unwrap().len(), 2);
        let taken = network::allocated_from(conn, subnet.id, address(0), address(255), 10).await.unwrap();
        assert_eq!(taken, [address(3), address(9)]);
        assert!(networks::has_ports(conn, network.id).await.unwrap());
        assert!(security_groups::is_in_use(conn, group.id).await.unwrap());

        let tx = db.begin().await.unwrap();
        ports::delete(&tx, &[port.row.id]).await.unwrap();
        security_groups::delete(&tx, group.id).await.unwrap();
        networks::delete(&tx, network.id).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!network::has_allocations(conn, subnet.id).await.unwrap());
        assert_eq!(subnets::get(conn, subnet.id).await.unwrap(), None);
        assert_eq!(rules::list(conn, None).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_is_refused_and_what_is_gone_is_looked_for_again() {
    on_database(async |db| {
        let (network, subnet) = fill(db).await;
        let mut first = port(network.id, "fa:16:3e:00:00:01");
        first.fixed_ips = vec![FixedIp { subnet_id: subnet.id, address: address(3) }];
        let insert = async |port: &Port| {
            let tx = db.begin().await?;
            ports::insert(&tx, port).await?;
            tx.commit().await
        };
        insert(&first).await.unwrap();
        assert_exists(insert(&port(network.id, "fa:16:3e:00:00:01")).await, "mac address", "fa:16:3e:00:00:01");
        let second = Port { fixed_ips: first.fixed_ips.clone(), ..port(network.id, "fa:16:3e:00:00:02") };
        assert_exists(insert(&second).await, "ip address", &format!("{:032x}", address(3)));
        let lost = Port { security_groups: vec![Uuid::new_v4()], ..port(network.id, "fa:16:3e:00:00:03") };
        assert!(matches!(insert(&lost).await, Err(DbError::Overtaken)));
        let tx = db.begin().await.unwrap();
        security_groups::insert(&tx, &group(Some(PROJECT))).await.unwrap();
        assert!(matches!(security_groups::insert(&tx, &group(Some(PROJECT))).await, Err(DbError::Overtaken)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_at_once_on_a_locked_network_get_different_addresses() {
    on_database(async |db| {
        let (network, subnet) = fill(db).await;
        let (network_id, subnet_id) = (network.id, subnet.id);
        let made = (0..16).map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                db.retry(|| async {
                    let tx = db.begin().await?;
                    network::lock(&tx, Resource::Network, &[network_id]).await?;
                    let taken = network::allocated_from(&tx, subnet_id, address(0), address(255), 256).await?;
                    let next = taken.last().map_or(address(2), |last| last + 1);
                    let mut port = port(network_id, &format!("fa:16:3e:00:00:{number:02x}"));
                    port.fixed_ips = vec![FixedIp { subnet_id, address: next }];
                    ports::insert(&tx, &port).await?;
                    tx.commit().await?;
                    Ok::<_, DbError>(port)
                })
                .await
            })
        });
        for made in join_all(made).await {
            let made = made.unwrap();
            assert_eq!(ports::get(db.read(), made.row.id).await.unwrap(), Some(made));
        }
        let taken = network::allocated_from(db.read(), subnet_id, address(0), address(255), 256).await.unwrap();
        assert_eq!(taken, (2..18).map(address).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn subports_follow_the_parent_of_their_trunk() {
    on_database(async |db| {
        let (network, _) = fill(db).await;
        let [parent, carried, other] = ["fa:16:3e:00:00:11", "fa:16:3e:00:00:12", "fa:16:3e:00:00:13"]
            .map(|mac_address| port(network.id, mac_address));
        let tx = db.begin().await.unwrap();
        for port in [&parent, &carried, &other] {
            ports::insert(&tx, port).await.unwrap();
        }
        let row = TrunkRow {
            id: Uuid::new_v4(),
            project_id: PROJECT.into(),
            description: "d".into(),
            revision_number: 1,
            created_at: at(1),
            updated_at: at(2),
            name: "t".into(),
            admin_state_up: true,
            port_id: parent.row.id,
        };
        trunks::insert(&tx, &row).await.unwrap();
        let subport = |port: &Port, segmentation_id| SubportRow {
            port_id: port.row.id,
            trunk_id: row.id,
            segmentation_type: "vlan".into(),
            segmentation_id,
        };
        trunks::insert_subport(&tx, &subport(&carried, 42)).await.unwrap();
        tx.commit().await.unwrap();

        let whole = Trunk { row: row.clone(), subports: vec![subport(&carried, 42)] };
        assert_eq!(trunks::get(db.read(), row.id).await.unwrap(), Some(whole.clone()));
        assert_eq!(trunks::list(db.read(), Some(PROJECT)).await.unwrap(), from_ref(&whole));
        assert_eq!(trunks::list(db.read(), Some("nobody")).await.unwrap(), []);
        let all = [parent.row.id, carried.row.id, other.row.id];
        assert_eq!(trunks::list_by_parents(db.read(), &all).await.unwrap(), [whole]);
        let memberships = trunks::memberships(db.read(), &all).await.unwrap();
        let expected =
            [(parent.row.id, Membership::Parent(row.id)), (carried.row.id, Membership::Subport(row.id))].into();
        assert_eq!(memberships, expected);

        let tx = db.begin().await.unwrap();
        assert!(matches!(trunks::insert_subport(&tx, &subport(&other, 42)).await, Err(DbError::Exists { .. })));
        tx.rollback().await.unwrap();
        let tx = db.begin().await.unwrap();
        let binding = Binding { host: "host1", status: "ACTIVE", device_owner: "trunk:subport" };
        trunks::follow(&tx, &all, binding).await.unwrap();
        tx.commit().await.unwrap();
        let now = ports::get(db.read(), carried.row.id).await.unwrap().unwrap().row;
        assert_eq!((now.binding_host_id.as_str(), now.status.as_str()), ("host1", "ACTIVE"));
        assert_eq!((now.device_owner.as_str(), now.revision_number), ("trunk:subport", 2));
        assert!(now.updated_at > at(2));
        for untouched in [&parent, &other] {
            assert_eq!(ports::get(db.read(), untouched.row.id).await.unwrap().unwrap().row, untouched.row);
        }

        let tx = db.begin().await.unwrap();
        trunks::delete(&tx, row.id).await.unwrap();
        ports::delete(&tx, &all).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(trunks::get(db.read(), row.id).await.unwrap(), None);
    })
    .await;
}
