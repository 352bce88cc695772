//! A cloud as a user has it: the binary in a process of its own, and HTTP.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything that has to happen may take.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// `kilonova up` in a process of its own, on a state directory that outlives it.
pub(crate) struct Kilonova {
    child: Option<Child>,
    pub(crate) state_dir: TempDir,
    driver: &'static str,
    port: u16,
    extra: Vec<String>,
}

impl Kilonova {
    /// Starts a cloud on an empty state directory and returns when it serves.
    pub(crate) fn start(driver: &'static str, extra: &[&str]) -> Self {
        let state_dir = tempfile::Builder::new().prefix("kilonova-test-").tempdir().expect("a temporary directory");
        let extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        let mut cloud = Self { child: None, state_dir, driver, port: free_port(), extra };
        cloud.restart();
        cloud
    }

    /// Starts the process (again) on the same state directory and port.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("a log file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kilonova"))
            .args(["up", "--driver", self.driver, "--listen", &format!("127.0.0.1:{}", self.port), "--state-dir"])
            .arg(self.state_dir.path())
            .args(&self.extra)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        self.child = Some(child);
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        assert!(first.starts_with("endpoint"), "kilonova did not come up:\n{}", self.log_tail());
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.state_dir.path().join("kilonova.log")
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn clouds_yaml(&self) -> PathBuf {
        self.state_dir.path().join("clouds.yaml")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// SIGKILL: no destructor, no flush, nothing.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// SIGTERM, and the status that it ends with.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be asked to end");
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("kilonova did not end after SIGTERM:\n{}", self.log_tail());
    }
}

impl Drop for Kilonova {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The image that `cargo xtask guest-image` makes; its path is in KILONOVA_GUEST_IMAGE.
pub(crate) fn guest_image() -> String {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest-image/guest.qcow2");
    let path = std::env::var_os("KILONOVA_GUEST_IMAGE").map_or(made, PathBuf::from);
    assert!(path.exists(), "{} is missing: `cargo xtask guest-image` makes it", path.display());
    path.to_str().expect("a path").to_owned()
}

/// Writes a file that ssh takes for a private key.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(path).expect("a file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("a written file");
}

pub(crate) fn free_port() -> u16 {
    kilonova_testing::free_port().expect("a free port")
}

/// The password of `user` in a `clouds.yaml` that Kilonova wrote.
pub(crate) fn password(clouds_yaml: &Path, user: &str) -> String {
    let text = std::fs::read_to_string(clouds_yaml).expect("clouds.yaml is there");
    let after = text.split(&format!("username: {user}\n")).nth(1).expect("the user is in clouds.yaml");
    let line = after.lines().find(|line| line.trim().starts_with("password:")).expect("with a password");
    line.split(':').nth(1).expect("a value").trim().to_owned()
}

/// Writes an answer of the compute API down for `cargo xtask oracle`, which says where: as the tests of that crate do.
fn record_answer(method: &Method, path: &str, body: Option<&Value>, version: &str, answer: (StatusCode, &Value)) {
    let Some(file) = std::env::var_os("KILONOVA_RECORDING") else { return };
    let path = path.split('?').next().unwrap_or(path);
    let Some(path) = path.strip_prefix("/compute/v2.1").filter(|path| path.len() > 1) else { return };
    let action = body.filter(|_| path.ends_with("/action")).and_then(|body| body.as_object()?.keys().next());
    let version = version.trim_start_matches("compute ");
    let line = json!({
        "method": method.as_str(), "path": path, "action": action, "version": version,
        "status": answer.0.as_u16(), "body": answer.1, "test": std::env::var("NEXTEST_TEST_NAME").ok(),
    });
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("a file for answers");
    // In one piece: other tests write to it too.
    std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).expect("a written answer");
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct User {
    http: reqwest::Client,
    endpoint: String,
    /// Where compute is, if it is elsewhere.
    compute: Option<String>,
    pub(crate) token: String,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    microversion: String,
}

impl User {
    /// Logs in.
    pub(crate) async fn log_in(endpoint: &str, clouds_yaml: &Path, user: &str) -> Self {
        kilonova_clients::http::install_tls_provider();
        // No connection is kept: the process at its other end may have been killed since.
        let http = reqwest::Client::builder().timeout(BOUND).pool_max_idle_per_host(0).build().expect("an HTTP client");
        let domain = json!({"name": "Default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user, "password": password(clouds_yaml, user), "domain": domain}}},
            "scope": {"project": {"name": user, "domain": domain}},
        }});
        let answer =
            http.post(format!("{endpoint}/identity/v3/auth/tokens")).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        let token = answer.headers()["x-subject-token"].to_str().expect("a token").to_owned();
        let body: Value = answer.json().await.expect("JSON");
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).expect(pointer).to_owned();
        Self {
            http,
            endpoint: endpoint.to_owned(),
            compute: None,
            token,
            project_id: text("/token/project/id"),
            user_id: text("/token/user/id"),
            microversion: "2.37".to_owned(),
        }
    }

    /// The same, asking in another microversion.
    pub(crate) fn at(&self, microversion: &str) -> Self {
        Self { microversion: microversion.to_owned(), ..self.clone() }
    }

    /// The same, asking the compute API at `endpoint`.
    pub(crate) fn via(&self, endpoint: &str) -> Self {
        Self { compute: Some(endpoint.to_owned()), ..self.clone() }
    }

    fn url(&self, path: &str) -> String {
        let elsewhere = self.compute.as_ref().filter(|_| path.starts_with("/compute/"));
        format!("{}{path}", elsewhere.unwrap_or(&self.endpoint))
    }

    /// One request; `Err` when there was no answer (the process was killed).
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let mut request = self
            .http
            .request(method.clone(), self.url(path))
            .header("X-Auth-Token", &self.token)
            .header("OpenStack-API-Version", format!("compute {}", self.microversion));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await?;
        let answered = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let version = headers.get("openstack-api-version").and_then(|version| version.to_str().ok());
        record_answer(&method, path, body, version.unwrap_or_default(), (status, &answered));
        Ok((status, answered))
    }

    pub(crate) async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.try_request(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.request(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.request(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.request(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> StatusCode {
        self.request(Method::DELETE, path, None).await.0
    }

    /// Uploads the bytes of an image.
    pub(crate) async fn upload(&self, path: &str, bytes: Vec<u8>) {
        let request = self.http.put(format!("{}{path}", self.endpoint)).header("X-Auth-Token", &self.token);
        let request = request.header("Content-Type", "application/octet-stream").body(bytes);
        let status = request.send().await.expect("an answer").status();
        assert_eq!(status, StatusCode::NO_CONTENT, "PUT {path}");
    }

    /// The id of the flavor of that name.
    pub(crate) async fn flavor(&self, name: &str) -> String {
        let flavors = self.get("/compute/v2.1/flavors").await;
        id_of(&flavors["flavors"], name)
    }

    /// The id of the image of that name.
    pub(crate) async fn image(&self, name: &str) -> String {
        let images = self.get("/image/v2/images").await;
        id_of(&images["images"], name)
    }

    /// The id of the network of that name.
    pub(crate) async fn network(&self, name: &str) -> String {
        let networks = self.get("/network/v2.0/networks").await;
        id_of(&networks["networks"], name)
    }

    /// The body to create a server with.
    pub(crate) async fn server(&self, name: &str, networks: Value) -> Value {
        json!({"server": {
            "name": name, "flavorRef": self.flavor("m1.nano").await, "imageRef": self.image("guest").await,
            "networks": networks,
        }})
    }

    /// Creates a server, waits until it is no longer being built, and returns it.
    pub(crate) async fn boot(&self, body: &Value) -> Value {
        let (status, created) = self.post("/compute/v2.1/servers", body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        let id = created["server"]["id"].as_str().expect("an id").to_owned();
        self.wait_for(&id, |server| server["status"] != "BUILD").await
    }

    /// Waits until a server is as `until` says, and returns it.
    pub(crate) async fn wait_for(&self, id: &str, until: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + BOUND;
        loop {
            let server = self.get(&format!("/compute/v2.1/servers/{id}")).await["server"].take();
            if until(&server) {
                return server;
            }
            assert!(Instant::now() < deadline, "server {id} did not get on: {server:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a server is gone.
    pub(crate) async fn wait_gone(&self, id: &str) {
        let deadline = Instant::now() + BOUND;
        loop {
            let (status, body) = self.request(Method::GET, &format!("/compute/v2.1/servers/{id}"), None).await;
            if status == StatusCode::NOT_FOUND {
                return;
            }
            assert!(Instant::now() < deadline, "server {id} did not go: {body:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes every limit from a project; `self` is an administrator.
    pub(crate) async fn lift_quotas(&self, project_id: &str) {
        let unlimited = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        let (status, body) = self.put(&format!("/compute/v2.1/os-quota-sets/{project_id}"), &unlimited).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

fn id_of(list: &Value, name: &str) -> String {
    let found = list.as_array().and_then(|items| items.iter().find(|item| item["name"] == name));
    let id = found.and_then(|item| item["id"].as_str());
    id.unwrap_or_else(|| panic!("nothing is named {name}: {list}")).to_owned()
}
