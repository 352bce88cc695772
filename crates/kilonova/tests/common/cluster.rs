//! A cloud of many processes: each service by itself, RabbitMQ between them, PostgreSQL behind them.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kilonova_testing::{PostgreSql, RabbitMq};
use tempfile::TempDir;

use crate::common::{BOUND, User, free_port, password};

/// How many of each there are.
pub(crate) struct Shape {
    pub(crate) apis: usize,
    pub(crate) conductors: usize,
    pub(crate) schedulers: usize,
    pub(crate) computes: usize,
    pub(crate) driver: &'static str,
    /// More of `nova.conf`.
    pub(crate) options: String,
}

/// All of it; ends with this value.
pub(crate) struct Cluster {
    services: BTreeMap<String, Service>,
    pub(crate) broker: RabbitMq,
    pub(crate) database: PostgreSql,
    standalone_port: u16,
    placement_port: u16,
    api_ports: Vec<u16>,
    dir: TempDir,
}

/// One process, by Nova's name for the program.
struct Service {
    program: &'static str,
    config: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
}

/// The password of the user that the services log in as.
const SERVICE_PASSWORD: &str = "service-secret";

impl Cluster {
    /// Starts everything; returns when all are ready.
    pub(crate) fn start(shape: &Shape) -> Self {
        let dir = tempfile::Builder::new().prefix("kilonova-cluster-").tempdir().expect("a temporary directory");
        let (broker, database) = (RabbitMq::start().expect("RabbitMQ"), PostgreSql::start().expect("PostgreSQL"));
        let api_ports = (0..shape.apis).map(|_| free_port()).collect();
        let mut cluster = Self {
            services: BTreeMap::new(),
            broker,
            database,
            standalone_port: free_port(),
            placement_port: free_port(),
            api_ports,
            dir,
        };
        cluster.add("standalone", "kilonova", 1, shape);
        cluster.manage("standalone-1", &["db", "sync"]);
        cluster.start_service("standalone-1");
        cluster.add("placement", "placement-api", 1, shape);
        cluster.add("conductor", "nova-conductor", shape.conductors, shape);
        cluster.add("scheduler", "nova-scheduler", shape.schedulers, shape);
        cluster.add("compute", "nova-compute", shape.computes, shape);
        cluster.add("api", "nova-api", shape.apis, shape);
        let names: Vec<String> = cluster.services.keys().filter(|name| *name != "standalone-1").cloned().collect();
        // In any order, as after a power cut.
        let waiting: Vec<_> = names.iter().map(|name| cluster.spawn(name)).collect();
        for (name, ready) in names.iter().zip(waiting) {
            cluster.wait_ready(name, &ready);
        }
        cluster
    }

    /// Services that are not started yet.
    pub(crate) fn add(&mut self, role: &str, program: &'static str, count: usize, shape: &Shape) {
        for number in 1..=count {
            let name = format!("{role}-{number}");
            let dir = self.dir.path().join(&name);
            std::fs::create_dir(&dir).expect("a directory");
            let config = dir.join("nova.conf");
            let text = self.config(&name, self.api_ports.get(number - 1).copied().unwrap_or_default(), &dir, shape);
            std::fs::write(&config, text).expect("a configuration");
            if program != "kilonova" {
                std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kilonova"), dir.join(program)).expect("a link");
            }
            self.services.insert(name, Service { program, config, dir, child: None });
        }
    }

    fn config(&self, host: &str, api_port: u16, dir: &Path, shape: &Shape) -> String {
        let (identity, placement) = (self.endpoint(), format!("http://127.0.0.1:{}", self.placement_port));
        let login = format!(
            "auth_type = password\nauth_url = {identity}/identity/v3\nusername = nova\npassword = {SERVICE_PASSWORD}\n\
             project_name = service\nuser_domain_name = Default\nproject_domain_name = Default\n"
        );
        let api = format!("http://127.0.0.1:{}/compute/v2.1", self.api_ports.first().copied().unwrap_or_default());
        format!(
            "[DEFAULT]\nhost = {host}\nstate_path = {}\ntransport_url = {}\ncompute_driver = {}\n\
             osapi_compute_listen = 127.0.0.1\nosapi_compute_listen_port = {api_port}\n\
             placement_listen = 127.0.0.1\nplacement_listen_port = {}\n\
             standalone_listen = 127.0.0.1\nstandalone_listen_port = {}\nreport_interval = 2\nservice_down_time = 12\n\
             [standalone]\ncompute_url = {api}\nservice_password = {SERVICE_PASSWORD}\n\
             [database]\nconnection = {}/postgres\n\
             [keystone_authtoken]\n{login}[glance]\n{login}[neutron]\n{login}\
             [placement]\nendpoint_override = {placement}/placement\n{login}{}",
            dir.display(),
            self.broker.url(),
            shape.driver,
            self.placement_port,
            self.standalone_port,
            self.database.url().replacen("postgresql://", "postgresql+psycopg2://", 1),
            shape.options,
        )
    }

    /// Identity, image and network.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.standalone_port)
    }

    /// An API, counted from 0.
    pub(crate) fn api(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.api_ports[number])
    }

    pub(crate) fn clouds_yaml(&self) -> PathBuf {
        self.state_path("standalone-1").join("standalone/clouds.yaml")
    }

    pub(crate) fn state_path(&self, name: &str) -> PathBuf {
        self.services[name].dir.clone()
    }

    /// Somebody who is logged in and asks the first API.
    pub(crate) async fn log_in(&self, user: &str) -> User {
        assert!(!password(&self.clouds_yaml(), user).is_empty());
        User::log_in(&self.endpoint(), &self.clouds_yaml(), user).await.via(&self.api(0))
    }

    /// `nova-manage` with the configuration of a service; what it printed.
    pub(crate) fn manage(&self, name: &str, arguments: &[&str]) -> String {
        let mut manage = Command::new(env!("CARGO_BIN_EXE_kilonova"));
        manage.args(["manage", "--config-file"]).arg(&self.services[name].config).args(arguments);
        let output = manage.output().expect("the binary starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a service and waits until it says that it is ready.
    pub(crate) fn start_service(&mut self, name: &str) {
        let ready = self.spawn(name);
        self.wait_ready(name, &ready);
    }

    /// Starts a process; where it will say that it is ready, as systemd would hear it.
    fn spawn(&mut self, name: &str) -> UnixDatagram {
        let service = self.services.get_mut(name).expect("a service of that name");
        assert!(service.child.is_none(), "{name} runs");
        let socket = service.dir.join("notify");
        let _ = std::fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket).expect("a socket");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(service.dir.join("log")).expect("a log");
        let mut command = match service.program {
            "kilonova" => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_kilonova"));
                command.arg("standalone");
                command
            }
            program => Command::new(service.dir.join(program)),
        };
        command.arg("--config-file").arg(&service.config).env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        service.child = Some(command.spawn().expect("the binary starts"));
        ready
    }

    fn wait_ready(&mut self, name: &str, ready: &UnixDatagram) {
        ready.set_read_timeout(Some(Duration::from_millis(200))).expect("a bound");
        let deadline = Instant::now() + BOUND;
        let mut words = [0; 256];
        loop {
            if let Ok(length) = ready.recv(&mut words)
                && String::from_utf8_lossy(&words[..length]).contains("READY=1")
            {
                return;
            }
            let ended = self.services.get_mut(name).and_then(|service| service.child.as_mut()?.try_wait().ok()?);
            assert!(ended.is_none() && Instant::now() < deadline, "{name} {ended:?}:\n{}", self.log_tail(name));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        let service = self.services.get_mut(name).expect("a service of that name");
        let mut child = service.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// SIGTERM, and the status that it ends with.
    pub(crate) fn terminate(&mut self, name: &str) -> Option<i32> {
        let service = self.services.get_mut(name).expect("a service of that name");
        let mut child = service.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be asked to end");
        let deadline = Instant::now() + BOUND;
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{name} did not end after SIGTERM:\n{}", self.log_tail(name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log_tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.services[name].dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The end of every log, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        let logs = self.services.keys().map(|name| format!("== {name}\n{}\n", self.log_tail(name)));
        logs.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for service in self.services.values_mut() {
            if let Some(mut child) = service.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
