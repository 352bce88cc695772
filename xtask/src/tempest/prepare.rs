//! What tempest needs of a cloud beside what a new one has.

use std::path::Path;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, text};
use crate::progress::Step;

/// The entry of `clouds.yaml` that may make what follows.
pub(super) const ADMIN: &str = "kilonova-admin";
/// What a new cloud with the fake driver has.
const IMAGE: &str = "guest";
const FLAVOR: &str = "m1.nano";
/// The external network that is made.
pub(super) const PUBLIC_NETWORK_NAME: &str = "public";
const SHARED_NETWORK: &str = "private";

/// What there is then, for tempest's configuration.
pub(super) struct Prepared {
    pub(super) image: String,
    pub(super) image_alt: String,
    pub(super) flavor: String,
    pub(super) flavor_alt: String,
    pub(super) public_network: String,
    /// Aliases of what the network service can do.
    pub(super) network_extensions: Vec<String>,
}

/// Makes a second image, a larger flavor and an external network.
pub(super) async fn prepare(clouds_yaml: &Path) -> anyhow::Result<Prepared> {
    let step = Step::quiet("making an image, a flavor and an external network");
    let admin = Api::login(clouds_yaml, ADMIN).await?;
    let image = admin.find_named("image", "/v2/images", "images", IMAGE).await?;
    let flavors = admin.get("/flavors").await?;
    let flavor = named(&flavors["flavors"], FLAVOR)?;
    let prepared = Prepared {
        image: text(&image["id"])?,
        image_alt: make_image(&admin).await?,
        flavor: text(&flavor["id"])?,
        flavor_alt: make_flavor(&admin).await?,
        public_network: make_external_network(&admin).await?,
        network_extensions: network_extensions(&admin).await?,
    };
    stop_sharing(&admin).await?;
    step.done("");
    Ok(prepared)
}

fn named<'a>(list: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let mut items = list.as_array().into_iter().flatten();
    items.find(|item| item["name"] == name).with_context(|| format!("there is nothing named {name:?}"))
}

async fn make_image(admin: &Api) -> anyhow::Result<String> {
    let image =
        json!({"name": "guest-alternate", "visibility": "public", "disk_format": "raw", "container_format": "bare"});
    let image = admin.request("image", Method::POST, "/v2/images", Some(&image)).await?;
    let id = text(&image["id"])?;
    admin.upload("image", &format!("/v2/images/{id}/file"), vec![0; 1024 * 1024]).await?;
    Ok(id)
}

/// Larger in everything, as resizes need.
async fn make_flavor(admin: &Api) -> anyhow::Result<String> {
    let flavor = json!({"flavor": {"name": "m1.nano-alternate", "vcpus": 2, "ram": 256, "disk": 2}});
    text(&admin.post("/flavors", &flavor).await?["flavor"]["id"])
}

async fn make_external_network(admin: &Api) -> anyhow::Result<String> {
    let network = json!({"network": {"name": PUBLIC_NETWORK_NAME, "router:external": true, "is_default": true}});
    let network = admin.request("network", Method::POST, "/v2.0/networks", Some(&network)).await?;
    let id = text(&network["network"]["id"])?;
    let subnet = json!({"subnet": {
        "network_id": id, "ip_version": 4, "cidr": "172.24.0.0/20", "enable_dhcp": false}});
    admin.request("network", Method::POST, "/v2.0/subnets", Some(&subnet)).await?;
    Ok(id)
}

/// A server without a wish gets the only network that its project sees; tempest makes one for each project.
async fn stop_sharing(admin: &Api) -> anyhow::Result<()> {
    let network = admin.find_named("network", "/v2.0/networks", "networks", SHARED_NETWORK).await?;
    let path = format!("/v2.0/networks/{}", text(&network["id"])?);
    admin.request("network", Method::PUT, &path, Some(&json!({"network": {"shared": false}}))).await?;
    Ok(())
}

async fn network_extensions(admin: &Api) -> anyhow::Result<Vec<String>> {
    let body = admin.request("network", Method::GET, "/v2.0/extensions", None).await?;
    body["extensions"].as_array().into_iter().flatten().map(|extension| text(&extension["alias"])).collect()
}
