//! What the QEMU driver can be told, and where in `nova.conf`.
//!
//! Nova's options keep their names; what only this driver has is in `[qemu]`.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kilonova_core::{Config, ConfigError};

use crate::console_server::ConsoleServerConfig;

/// Whether guests run on the processor or are emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtType {
    /// KVM where it works, else emulation.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation (TCG).
    Qemu,
}

/// The bounds of what the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuLimits {
    /// How long QEMU may take from its start to answering on QMP.
    pub launch_timeout: Duration,
    /// How long QEMU may take for an answer.
    pub qmp_timeout: Duration,
    /// How long one run of a helper may take, except for a conversion.
    pub tool_timeout: Duration,
    /// How long the conversion of an image may take.
    pub convert_timeout: Duration,
    /// Seconds of processor time for the inspection of an image.
    pub inspect_cpu_s: u64,
    /// Address space for the inspection of an image.
    pub inspect_memory_bytes: u64,
    /// Images that are converted at the same time.
    pub concurrent_conversions: usize,
    /// A console log that is longer loses its beginning.
    pub console_log_max_bytes: u64,
}

impl Default for QemuLimits {
    fn default() -> Self {
        Self {
            launch_timeout: Duration::from_secs(60),
            qmp_timeout: Duration::from_secs(10),
            tool_timeout: Duration::from_secs(120),
            convert_timeout: Duration::from_secs(3600),
            inspect_cpu_s: 30,
            inspect_memory_bytes: 1 << 30,
            concurrent_conversions: 2,
            console_log_max_bytes: 16 << 20,
        }
    }
}

/// All that the QEMU driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuConfig {
    /// Where guests have their directories. `[DEFAULT] instances_path`
    pub instances_dir: PathBuf,
    /// `[libvirt] virt_type`: `kvm` or `qemu`; unset is [`VirtType::Auto`].
    pub virt_type: VirtType,
    /// How long a soft reboot waits for the guest. `[libvirt] wait_soft_reboot_seconds`
    pub soft_reboot_grace: Duration,
    /// Makes config drives; has genisoimage's options. `[DEFAULT] mkisofs_cmd`
    pub mkisofs_cmd: String,
    /// What a host name gets appended in the config drive. `[api] dhcp_domain`
    pub dhcp_domain: String,
    /// `[qemu] qemu_system`
    pub qemu_system: String,
    /// `[qemu] qemu_img`
    pub qemu_img: String,
    /// Where the forwarded ssh ports listen. `[qemu] ssh_forward_address`
    pub ssh_forward_address: Ipv4Addr,
    /// `[qemu] ssh_forward_ports`: `22000-22999`
    pub ssh_forward_ports: RangeInclusive<u16>,
    /// Whether new guests have a screen. `[vnc] enabled`
    pub has_screens: bool,
    /// Where their consoles are.
    pub consoles: ConsoleServerConfig,
    /// Bounds.
    pub limits: QemuLimits,
}

impl QemuConfig {
    /// Defaults, with the guests in `instances_dir`.
    pub fn new(instances_dir: impl Into<PathBuf>) -> Self {
        Self {
            instances_dir: instances_dir.into(),
            virt_type: VirtType::Auto,
            soft_reboot_grace: Duration::from_secs(60),
            mkisofs_cmd: "genisoimage".to_owned(),
            dhcp_domain: "novalocal".to_owned(),
            qemu_system: "qemu-system-x86_64".to_owned(),
            qemu_img: "qemu-img".to_owned(),
            ssh_forward_address: Ipv4Addr::LOCALHOST,
            ssh_forward_ports: 22000..=22999,
            has_screens: true,
            consoles: ConsoleServerConfig::default(),
            limits: QemuLimits::default(),
        }
    }

    /// From `nova.conf`; guests are under `state_dir` unless it says otherwise.
    pub fn from_config(config: &Config, state_dir: &Path) -> Result<Self, ConfigError> {
        let default = Self::new(state_dir.join("instances"));
        let text = |group: &str, name: &str, default: String| config.get(group, name).unwrap_or(default);
        Ok(Self {
            instances_dir: config.get("DEFAULT", "instances_path").map_or(default.instances_dir, PathBuf::from),
            virt_type: virt_type(config)?,
            soft_reboot_grace: Duration::from_secs(config.parse(
                "libvirt",
                "wait_soft_reboot_seconds",
                default.soft_reboot_grace.as_secs(),
            )?),
            mkisofs_cmd: text("DEFAULT", "mkisofs_cmd", default.mkisofs_cmd),
            dhcp_domain: text("api", "dhcp_domain", default.dhcp_domain),
            qemu_system: text("qemu", "qemu_system", default.qemu_system),
            qemu_img: text("qemu", "qemu_img", default.qemu_img),
            ssh_forward_address: config.parse("qemu", "ssh_forward_address", default.ssh_forward_address)?,
            ssh_forward_ports: ports(config)?.unwrap_or(default.ssh_forward_ports),
            has_screens: config.flag("vnc", "enabled", default.has_screens)?,
            consoles: ConsoleServerConfig::from_config(config)?,
            limits: default.limits,
        })
    }
}

fn virt_type(config: &Config) -> Result<VirtType, ConfigError> {
    match config.get("libvirt", "virt_type") {
        None => Ok(VirtType::Auto),
        Some(value) => match value.trim() {
            "kvm" => Ok(VirtType::Kvm),
            "qemu" => Ok(VirtType::Qemu),
            _ => Err(unfit("libvirt", "virt_type", &value, "kvm or qemu")),
        },
    }
}

fn ports(config: &Config) -> Result<Option<RangeInclusive<u16>>, ConfigError> {
    let Some(value) = config.get("qemu", "ssh_forward_ports") else {
        return Ok(None);
    };
    let ends =
        value.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match ends {
        Some((first, last)) if 0 < first && first <= last => Ok(Some(first..=last)),
        _ => Err(unfit("qemu", "ssh_forward_ports", &value, "a range of ports such as 22000-22999")),
    }
}

fn unfit(group: &str, name: &str, value: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        group: group.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn novas_options_and_ours_are_read() {
        let text = "[DEFAULT]\ninstances_path = /srv/vm\n[libvirt]\nvirt_type = qemu\n[qemu]\nssh_forward_ports = 30000-30009\n";
        let config = Config::from_text(text).unwrap();
        let found = QemuConfig::from_config(&config, Path::new("/state")).unwrap();
        let mut expected = QemuConfig::new("/srv/vm");
        expected.virt_type = VirtType::Qemu;
        expected.ssh_forward_ports = 30000..=30009;
        assert_eq!(found, expected);
    }

    #[test]
    fn a_range_that_is_none_is_refused_by_its_name() {
        for range in ["22000", "23000-22000", "0-5", "a-b", "1-70000"] {
            let text = format!("[qemu]\nssh_forward_ports = {range}\n");
            let config = Config::from_text(&text).unwrap();
            let error = QemuConfig::from_config(&config, Path::new("/state")).unwrap_err();
            assert!(error.to_string().contains("ssh_forward_ports"), "{error}");
        }
    }
}
