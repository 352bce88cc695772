//! Trunks and their subports.

use kilonova_clients::network::NetworkService as _;
use serde_json::json;

use super::*;

fn subport(port: &Value, tag: i64) -> Value {
    json!({"port_id": port["id"], "segmentation_type": "vlan", "segmentation_id": tag})
}

impl Cloud {
    /// A trunk of demo with one subport: its path, its parent, the subport, and another port.
    async fn trunk(&self) -> (String, Value, Value, Value) {
        let (outer, _) = self.subnet("10.1.0.0/24").await;
        let (inner, _) = self.subnet("10.2.0.0/24").await;
        let (parent, carried, other) = (self.port(&outer).await, self.port(&inner).await, self.port(&inner).await);
        let trunk = json!({"trunk": {"name": "t", "port_id": parent["id"], "sub_ports": [subport(&carried, 42)]}});
        let trunk = self.post("demo", "/trunks", trunk).await["trunk"].clone();
        assert_eq!(trunk["sub_ports"], json!([subport(&carried, 42)]));
        (format!("/trunks/{}", trunk["id"].as_str().unwrap()), parent, carried, other)
    }

    async fn shown(&self, port: &Value) -> Value {
        self.get("admin", &format!("/ports/{}", port["id"].as_str().unwrap())).await["port"].clone()
    }

    /// Status, host and owner of a port.
    async fn place(&self, port: &Value) -> (String, String, String) {
        let shown = self.shown(port).await;
        let text = |name: &str| shown[name].as_str().unwrap().to_owned();
        (text("status"), text("binding:host_id"), text("device_owner"))
    }

    async fn change(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(token, "PUT", path, Body::from(body.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        answer
    }
}

fn place(status: &str, host: &str, owner: &str) -> (String, String, String) {
    (status.to_owned(), host.to_owned(), owner.to_owned())
}

#[tokio::test]
async fn subports_are_where_their_parent_is() {
    let cloud = Cloud::new().await;
    let (path, parent, carried, late) = cloud.trunk().await;
    assert_eq!(cloud.get("demo", &path).await["trunk"]["status"], "DOWN");
    assert_eq!(cloud.place(&carried).await, place("DOWN", "", ""));

    let (server, port_id) = (Uuid::new_v4(), parent["id"].as_str().unwrap().parse().unwrap());
    let request = PortRequest { port_id: Some(port_id), ..PortRequest::default() };
    cloud.service.allocate_for_instance(&demo(), server, "demo-project", "host1", &[request]).await.unwrap();
    assert_eq!(cloud.place(&carried).await, place("ACTIVE", "host1", "trunk:subport"));
    assert_eq!(cloud.get("demo", &path).await["trunk"]["status"], "ACTIVE");
    assert_eq!(cloud.service.instance_vifs(&demo(), server).await.unwrap().len(), 1);

    cloud.service.setup_instance_network_on_host(&demo(), server, "host2").await.unwrap();
    assert_eq!(cloud.place(&carried).await, place("ACTIVE", "host2", "trunk:subport"));
    let added = json!({"sub_ports": [subport(&late, 43)]});
    let trunk = cloud.change("demo", &format!("{path}/add_subports"), added).await;
    assert_eq!((trunk["sub_ports"].as_array().unwrap().len(), &trunk["revision_number"]), (2, &json!(2)));
    assert_eq!(cloud.place(&late).await, place("ACTIVE", "host2", "trunk:subport"));
    let binding = json!({"port": {"binding:host_id": "host3"}});
    cloud.change("admin", &format!("/ports/{port_id}"), binding).await;
    assert_eq!(cloud.place(&late).await, place("ACTIVE", "host3", "trunk:subport"));

    let removed = json!({"sub_ports": [{"port_id": late["id"]}]});
    cloud.change("demo", &format!("{path}/remove_subports"), removed).await;
    assert_eq!(cloud.place(&late).await, place("DOWN", "", ""));
    cloud.service.deallocate_for_instance(&demo(), server).await.unwrap();
    assert_eq!(cloud.place(&carried).await, place("DOWN", "", ""));
    assert_eq!(cloud.place(&parent).await, place("DOWN", "", ""));
}

#[tokio::test]
async fn a_port_says_what_it_carries_and_stays_while_it_does() {
    let cloud = Cloud::new().await;
    let (path, parent, carried, other) = cloud.trunk().await;
    let details = cloud.shown(&parent).await["trunk_details"].clone();
    let mut expected = subport(&carried, 42);
    expected["mac_address"] = carried["mac_address"].clone();
    assert_eq!(details["sub_ports"], json!([expected]));
    assert!(path.ends_with(details["trunk_id"].as_str().unwrap()));
    assert!(cloud.shown(&carried).await.get("trunk_details").is_none());
    let subports = cloud.get("demo", &format!("{path}/get_subports")).await;
    assert_eq!(subports, json!({"sub_ports": [subport(&carried, 42)]}));

    let port = |port: &Value| format!("/ports/{}", port["id"].as_str().unwrap());
    let kept = cloud.refused("demo", "DELETE", &port(&parent), Value::Null).await;
    assert_eq!(kept, refusal(409, "PortInUseAsTrunkParent"));
    let kept = cloud.refused("demo", "DELETE", &port(&carried), Value::Null).await;
    assert_eq!(kept, refusal(409, "PortInUseAsSubPort"));
    cloud.delete("demo", &path).await;
    for gone in [&parent, &carried, &other] {
        cloud.delete("demo", &port(gone)).await;
    }
}

#[tokio::test]
async fn a_port_that_a_server_was_given_by_itself_outlives_it_in_a_trunk() {
    let (cloud, network) = Cloud::with_private_network().await;
    let server = Uuid::new_v4();
    let vifs = cloud.service.allocate_for_instance(&demo(), server, "demo-project", "host1", &[on(network)]).await;
    let port = json!({"id": vifs.unwrap()[0].id});
    let trunk = cloud.post("demo", "/trunks", json!({"trunk": {"port_id": port["id"]}})).await["trunk"].clone();
    assert_eq!(trunk["status"], "ACTIVE");
    cloud.service.deallocate_for_instance(&demo(), server).await.unwrap();
    assert_eq!(cloud.place(&port).await, place("DOWN", "", ""));
}

#[tokio::test]
async fn a_trunk_is_its_projects_and_takes_what_fits() {
    let cloud = Cloud::new().await;
    let (path, parent, carried, other) = cloud.trunk().await;
    assert_eq!(cloud.get("demo", "/trunks?name=t&fields=name").await, json!({"trunks": [{"name": "t"}]}));
    assert_eq!(cloud.get("other", "/trunks").await, json!({"trunks": []}));
    assert_eq!(cloud.refused("other", "GET", &path, Value::Null).await, refusal(404, "TrunkNotFound"));
    assert_eq!(cloud.refused("reader", "DELETE", &path, Value::Null).await.0, 403);
    let off = json!({"trunk": {"name": "off", "admin_state_up": false}});
    let shown = cloud.change("demo", &path, off).await["trunk"].clone();
    assert_eq!((&shown["name"], &shown["admin_state_up"]), (&json!("off"), &json!(false)));
    let add = format!("{path}/add_subports");
    let disabled = cloud.refused("demo", "PUT", &add, json!({"sub_ports": [subport(&other, 1)]})).await;
    assert_eq!(disabled, refusal(409, "TrunkDisabled"));
    cloud.change("demo", &path, json!({"trunk": {"admin_state_up": true}})).await;

    for (body, status, kind) in [
        (json!({"sub_ports": [subport(&other, 42)]}), 409, "DuplicateSubPort"),
        (json!({"sub_ports": [subport(&carried, 7)]}), 409, "PortInUseAsSubPort"),
        (json!({"sub_ports": [subport(&parent, 7)]}), 409, "ParentPortInUse"),
        (json!({"sub_ports": [subport(&json!({"id": Uuid::new_v4()}), 7)]}), 404, "PortNotFound"),
        (json!({"sub_ports": [subport(&other, 4095)]}), 400, "InvalidInput"),
        (json!({"sub_ports": [{"port_id": other["id"]}]}), 400, "InvalidInput"),
        (
            json!({"sub_ports": [{"port_id": other["id"], "segmentation_type": "gre", "segmentation_id": 7}]}),
            400,
            "InvalidInput",
        ),
        (json!({"sub_ports": [subport(&other, 7), subport(&other, 8)]}), 400, "HTTPBadRequest"),
        (json!({"sub_ports": [{"segmentation_type": "vlan"}]}), 400, "HTTPBadRequest"),
        (json!({}), 400, "InvalidInput"),
    ] {
        assert_eq!(cloud.refused("demo", "PUT", &add, body.clone()).await, refusal(status, kind), "{body}");
    }
    let remove = format!("{path}/remove_subports");
    let missing = cloud.refused("demo", "PUT", &remove, json!({"sub_ports": [{"port_id": other["id"]}]})).await;
    assert_eq!(missing, refusal(404, "SubPortNotFound"));
    for (port, kind) in [(&parent, "ParentPortInUse"), (&carried, "PortInUseAsSubPort")] {
        let again = cloud.refused("demo", "POST", "/trunks", json!({"trunk": {"port_id": port["id"]}})).await;
        assert_eq!(again, refusal(409, kind));
    }
    let bare = cloud.refused("demo", "POST", "/trunks", json!({"trunk": {}})).await;
    assert_eq!(bare, refusal(400, "HTTPBadRequest"));
    let used = json!({"port": {"device_id": "somebody"}});
    cloud.change("demo", &format!("/ports/{}", other["id"].as_str().unwrap()), used).await;
    let held = cloud.refused("demo", "PUT", &add, json!({"sub_ports": [subport(&other, 7)]})).await;
    assert_eq!(held, refusal(409, "PortInUse"));
    let subports = cloud.get("demo", &format!("{path}/get_subports")).await;
    assert_eq!(subports["sub_ports"], json!([subport(&carried, 42)]));
}
