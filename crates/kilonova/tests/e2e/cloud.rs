//! A cloud in the test's own process.

use kilonova::cloud::{Cloud, CloudOptions};
use kilonova_core::Config;
use kilonova_messaging::Faults;
use tempfile::TempDir;

use crate::common::User;

/// A cloud, and the directory that goes when it does.
pub(crate) struct TestCloud {
    cloud: Option<Cloud>,
    state_dir: TempDir,
    options: CloudOptions,
}

impl TestCloud {
    /// With the fake driver on one host.
    pub(crate) async fn start() -> Self {
        Self::with_config("").await
    }

    /// The same with a configuration.
    pub(crate) async fn with_config(text: &str) -> Self {
        Self::with_faults(text, None).await
    }

    /// The same on several hosts.
    pub(crate) async fn on_hosts(hosts: usize, text: &str) -> Self {
        Self::build(hosts, text, None).await
    }

    /// The same on a transport that loses, repeats and delays messages.
    pub(crate) async fn with_faults(text: &str, faults: Option<Faults>) -> Self {
        Self::build(1, text, faults).await
    }

    async fn build(hosts: usize, text: &str, faults: Option<Faults>) -> Self {
        let state_dir = tempfile::Builder::new().prefix("kilonova-e2e-").tempdir().expect("a temporary directory");
        let options = CloudOptions {
            config: Config::from_text(text).expect("a configuration"),
            driver: "fake".to_owned(),
            state_dir: state_dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            guest_image: None,
            host: "host1".to_owned(),
            hosts,
            faults,
        };
        let cloud = Cloud::start(options.clone()).await.expect("the cloud starts");
        Self { cloud: Some(cloud), state_dir, options }
    }

    fn cloud(&self) -> &Cloud {
        self.cloud.as_ref().expect("the cloud runs")
    }

    pub(crate) async fn user(&self, name: &str) -> User {
        User::log_in(&format!("http://{}", self.cloud().address()), self.cloud().clouds_yaml(), name).await
    }

    /// Stops the cloud and starts it on the same state.
    pub(crate) async fn restart(&mut self) {
        let address = self.cloud().address();
        self.cloud.take().expect("the cloud runs").stop().await;
        let options = CloudOptions { listen: address, ..self.options.clone() };
        self.cloud = Some(Cloud::start(options).await.expect("the cloud starts again"));
    }

    pub(crate) fn state_dir(&self) -> &std::path::Path {
        self.state_dir.path()
    }
}
