//! The public REST API as any client uses it: a token by password, the endpoints from its catalog, JSON both ways.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// The version asked for: the newest of what is used here is `networks: none`.
const MICROVERSION: &str = "2.37";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Who logs in where, from an entry of `clouds.yaml`.
pub(crate) struct Account {
    /// With the version at its end.
    pub(crate) auth_url: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) project_name: String,
}

impl Account {
    pub(crate) fn read(clouds_yaml: &Path, cloud: &str) -> anyhow::Result<Self> {
        let yaml =
            std::fs::read_to_string(clouds_yaml).with_context(|| format!("cannot read {}", clouds_yaml.display()))?;
        let entry = |key: &str| {
            entry_of(&yaml, cloud, key)
                .with_context(|| format!("{} has no {key} for cloud {cloud}", clouds_yaml.display()))
        };
        Ok(Self {
            auth_url: entry("auth_url")?,
            username: entry("username")?,
            password: entry("password")?,
            project_name: entry("project_name")?,
        })
    }
}

/// A session of one user in one project.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    token: String,
    project_id: String,
    catalog: Value,
    compute: String,
}

/// An answer and what it took.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) bytes: usize,
    /// From the request's first byte to the answer's last, without parsing it.
    pub(crate) took: Duration,
}

impl Answer {
    /// The body, or an error with the message that the service gave.
    pub(crate) fn ok(self) -> anyhow::Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        bail!("{}: {}", self.status, message(&self.body));
    }
}

/// The sentence of an OpenStack error, which is one level below a name that differs by status.
fn message(body: &Value) -> String {
    let inner = body.as_object().and_then(|object| object.values().find_map(|value| value["message"].as_str()));
    inner.map_or_else(|| body.to_string(), str::to_owned)
}

impl Api {
    /// Logs in as the user of an entry of `clouds.yaml`.
    pub(crate) async fn login(clouds_yaml: &Path, cloud: &str) -> anyhow::Result<Self> {
        let account = Account::read(clouds_yaml, cloud)?;
        // never through a proxy: what is measured and driven here is on this machine
        let http = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        let domain = json!({"name": "Default"});
        let auth = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": account.username, "password": account.password, "domain": domain}}},
            "scope": {"project": {"name": account.project_name, "domain": domain}},
        }});
        let url = format!("{}/auth/tokens", account.auth_url.trim_end_matches('/'));
        let response = http.post(url).json(&auth).send().await.context("cannot reach the identity service")?;
        let status = response.status();
        let token = response.headers().get("X-Subject-Token").cloned();
        let mut body: Value = response.json().await.context("the identity service's answer is no JSON")?;
        if !status.is_success() {
            bail!("cannot log in as {cloud}: {status}: {}", message(&body));
        }
        let token = token.context("the identity service gave no token")?.to_str()?.to_owned();
        let catalog = body["token"]["catalog"].take();
        let compute = endpoint(&catalog, "compute")?;
        Ok(Self { http, token, project_id: text(&body["token"]["project"]["id"])?, catalog, compute })
    }

    /// The compute service's endpoint.
    pub(crate) fn compute_url(&self) -> &str {
        &self.compute
    }

    /// For programs that make requests of their own.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The project of the session.
    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    /// A request to the compute service; `path` begins with a slash.
    pub(crate) async fn compute(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        self.send(method, &format!("{}{path}", self.compute), body).await
    }

    /// GET from the compute service, which must succeed.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.compute(Method::GET, path, None).await?.ok().with_context(|| format!("GET {path}"))
    }

    /// POST to the compute service, which must succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.compute(Method::POST, path, Some(body)).await?.ok().with_context(|| format!("POST {path}"))
    }

    /// DELETE at the compute service; what is not there counts as deleted.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.compute(Method::DELETE, path, None).await?;
        if answer.status != StatusCode::NOT_FOUND {
            answer.ok().with_context(|| format!("DELETE {path}"))?;
        }
        Ok(())
    }

    /// The one image, network, … with this name, from the list at `path` of a service of the catalog.
    pub(crate) async fn find_named(&self, service: &str, path: &str, key: &str, name: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}?name={name}", endpoint(&self.catalog, service)?);
        let mut list = self.send(Method::GET, &url, None).await?.ok().with_context(|| format!("GET {url}"))?;
        let found = list[key].as_array_mut().and_then(Vec::pop);
        found.with_context(|| format!("the {service} service has nothing named {name:?} in {path}"))
    }

    /// A request to any service of the catalog, which must succeed.
    pub(crate) async fn request(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}{path}", endpoint(&self.catalog, service)?);
        self.send(method.clone(), &url, body).await?.ok().with_context(|| format!("{method} {url}"))
    }

    /// PUT of bytes to any service of the catalog, which must succeed.
    pub(crate) async fn upload(&self, service: &str, path: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("{}{path}", endpoint(&self.catalog, service)?);
        let request = self.http.put(&url).header("X-Auth-Token", &self.token);
        let request = request.header("Content-Type", "application/octet-stream").body(bytes);
        request.send().await?.error_for_status().with_context(|| format!("PUT {url}"))?;
        Ok(())
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut request = self.http.request(method, url).header("X-Auth-Token", &self.token);
        request = request.header("OpenStack-API-Version", format!("compute {MICROVERSION}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let started = Instant::now();
        let response = request.send().await.with_context(|| format!("no answer from {url}"))?;
        let status = response.status();
        let bytes = response.bytes().await.with_context(|| format!("half an answer from {url}"))?;
        let took = started.elapsed();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Ok(Answer { status, body, bytes: bytes.len(), took })
    }
}

/// A string that must be there.
pub(crate) fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().with_context(|| format!("expected a string, got {value}"))?.to_owned())
}

fn endpoint(catalog: &Value, service: &str) -> anyhow::Result<String> {
    let entries = catalog.as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = entries.iter().find(|entry| entry["type"] == service);
    let endpoints = entry.and_then(|entry| entry["endpoints"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let public = endpoints.iter().find(|endpoint| endpoint["interface"] == "public");
    let url = public.with_context(|| format!("the catalog has no public endpoint for {service}"))?;
    Ok(text(&url["url"])?.trim_end_matches('/').to_owned())
}

/// A value of a cloud's entry in the `clouds.yaml` that `kilonova up` writes: two spaces before a cloud's name, more
/// before what belongs to it, plain scalars only.
fn entry_of(yaml: &str, cloud: &str, key: &str) -> Option<String> {
    let heading = format!("  {cloud}:");
    let mut lines = yaml.lines().skip_while(|line| line.trim_end() != heading);
    lines.next()?;
    let mut inside = lines.take_while(|line| line.starts_with("   "));
    let value = inside.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':').map(str::trim))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUDS: &str = "\
clouds:
  kilonova:
    auth:
      auth_url: http://127.0.0.1:8774/identity/v3
      username: demo
      password: \"first\"
    region_name: RegionOne
  kilonova-admin:
    auth:
      username: admin
      password: second
";

    #[test]
    fn each_cloud_has_its_own_values() {
        assert_eq!(entry_of(CLOUDS, "kilonova", "password").as_deref(), Some("first"));
        assert_eq!(entry_of(CLOUDS, "kilonova", "auth_url").as_deref(), Some("http://127.0.0.1:8774/identity/v3"));
        assert_eq!(entry_of(CLOUDS, "kilonova-admin", "password").as_deref(), Some("second"));
        assert_eq!(entry_of(CLOUDS, "kilonova-admin", "auth_url"), None);
        assert_eq!(entry_of(CLOUDS, "other", "password"), None);
    }

    #[test]
    fn the_message_of_an_error_is_found_under_any_name() {
        assert_eq!(message(&json!({"badRequest": {"code": 400, "message": "no such flavor"}})), "no such flavor");
        assert_eq!(message(&json!("plain")), "\"plain\"");
    }

    #[test]
    fn the_public_endpoint_is_taken() {
        let catalog = json!([{"type": "compute", "endpoints": [
            {"interface": "admin", "url": "http://admin"}, {"interface": "public", "url": "http://public/v2.1/"}]}]);
        assert_eq!(endpoint(&catalog, "compute").unwrap(), "http://public/v2.1");
        assert!(endpoint(&catalog, "image").is_err());
    }
}
