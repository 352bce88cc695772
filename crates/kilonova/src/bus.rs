//! How the services reach each other: a transport, and how long a caller waits.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kilonova_core::{Config, ConfigError, RequestContext};
use kilonova_messaging::transport::rabbit::{OptionError, RabbitOptions, RabbitTransport};
use kilonova_messaging::{ClientOptions, Faults, MemoryTransport, Transport};
use kilonova_rpcapi::{ComputeApi, ConductorApi, Notifications, SchedulerApi};

/// oslo.messaging's default of `[DEFAULT] transport_url`: a broker on this machine.
const DEFAULT_URL: &str = "rabbit://";
const RABBIT_SECTION: &str = "oslo_messaging_rabbit";
/// How long one question for a conductor may take before the next.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server that has a call may say nothing: then it is taken for dead, long before the call's timeout.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// A transport and the options of the calls made over it.
pub(crate) struct Bus {
    transport: Arc<dyn Transport>,
    rpc: ClientOptions,
}

impl Bus {
    /// Inside this process.
    pub(crate) fn memory(config: &Config, faults: Option<Faults>) -> Result<Self, ConfigError> {
        let transport = faults.map_or_else(MemoryTransport::new, MemoryTransport::with_faults);
        Ok(Self { transport, rpc: client_options(config)? })
    }

    /// To the broker of `[DEFAULT] transport_url`, with `[oslo_messaging_rabbit]`. Nobody is connected to yet.
    pub(crate) fn from_config(config: &Config) -> anyhow::Result<Self> {
        let url = config.get("DEFAULT", "transport_url").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let transport = rabbit(config, &url).context("[DEFAULT] transport_url")?;
        let rpc = client_options(config)?;
        let call_monitor_timeout = Some(SIGN_OF_LIFE.min(rpc.timeout));
        Ok(Self { transport, rpc: ClientOptions { call_monitor_timeout, ..rpc } })
    }

    /// What servers listen on.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    /// For `binary` on `host` to tell what it does, as the configuration says. It is sent over the same transport, or over
    /// that of `[oslo_messaging_notifications] transport_url`.
    pub(crate) fn notifications(&self, config: &Config, binary: &str, host: &str) -> anyhow::Result<Notifications> {
        let url = config.get("oslo_messaging_notifications", "transport_url").filter(|url| !url.is_empty());
        let transport: Arc<dyn Transport> = match url {
            Some(url) => rabbit(config, &url).context("[oslo_messaging_notifications] transport_url")?,
            None => self.transport.clone(),
        };
        Ok(Notifications::from_config(config, transport, binary, host)?)
    }

    /// The conductors.
    pub(crate) fn conductor(&self) -> ConductorApi {
        ConductorApi::new(self.transport.clone(), self.rpc)
    }

    /// The compute agents.
    pub(crate) fn compute(&self) -> ComputeApi {
        ComputeApi::new(self.transport.clone(), self.rpc)
    }

    /// The schedulers.
    pub(crate) fn scheduler(&self) -> SchedulerApi {
        SchedulerApi::new(self.transport.clone(), self.rpc)
    }

    /// Returns when a conductor answers, for as long as that takes: Nova's services start in any order.
    pub(crate) async fn wait_for_conductor(&self) {
        let options = ClientOptions { timeout: PING_TIMEOUT, ..self.rpc };
        let conductor = ConductorApi::new(self.transport.clone(), options);
        while let Err(error) = conductor.ping(&RequestContext::admin()).await {
            tracing::warn!(%error, "no conductor answers yet; asking again");
            if !error.is_timeout() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Ends all consumers.
    pub(crate) async fn close(&self) {
        self.transport.close().await;
    }
}

/// A transport to the broker of `url`, with `[oslo_messaging_rabbit]`.
fn rabbit(config: &Config, url: &str) -> anyhow::Result<Arc<RabbitTransport>> {
    let mut options = RabbitOptions {
        control_exchange: config.get("DEFAULT", "control_exchange").unwrap_or_else(|| "nova".to_owned()),
        ..RabbitOptions::default()
    };
    for name in config.names(RABBIT_SECTION) {
        match options.set(name, &config.get(RABBIT_SECTION, name).unwrap_or_default()) {
            Err(OptionError::Unknown { name }) => {
                tracing::warn!(group = RABBIT_SECTION, option = name, "an option is not known and has no effect");
            }
            set => set.context("[oslo_messaging_rabbit]")?,
        }
    }
    Ok(RabbitTransport::new(url, options)?)
}

/// `[DEFAULT] rpc_response_timeout`: seconds that a caller waits for an answer.
fn client_options(config: &Config) -> Result<ClientOptions, ConfigError> {
    let timeout = Duration::from_secs(config.parse("DEFAULT", "rpc_response_timeout", 60)?);
    Ok(ClientOptions { timeout, ..ClientOptions::default() })
}
