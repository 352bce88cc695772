//! `compute_driver`: from a name to a driver. The only place that knows all of them.

use std::path::Path;
use std::sync::Arc;

use kilonova_core::Config;

use crate::console_server::ConsoleServerConfig;
use crate::driver::{Driver, DriverError};
use crate::fake::FakeDriver;
use crate::qemu::{QemuConfig, QemuDriver};

/// The driver that `name` stands for, Nova's names included. What it keeps is under `state_dir`, unless the
/// configuration says otherwise; `host` tells apart several compute hosts of one process.
pub fn load(name: &str, config: &Config, state_dir: &Path, host: &str) -> Result<Arc<dyn Driver>, DriverError> {
    match name {
        "fake" | "fake.FakeDriver" => {
            let dir = state_dir.join("fake").join(host);
            let consoles = ConsoleServerConfig::from_config(config)?;
            Ok(Arc::new(FakeDriver::open(Some(dir))?.with_consoles(consoles)))
        }
        "qemu" => {
            let config = QemuConfig::from_config(config, state_dir)?;
            Ok(Arc::new(QemuDriver::new(config)?))
        }
        "libvirt" | "libvirt.LibvirtDriver" => Err(DriverError::Host(format!(
            "compute_driver = {name}: there is no libvirt driver yet; compute_driver = qemu runs the same guests \
             without libvirt"
        ))),
        _ => Err(DriverError::Host(format!("compute_driver = {name}: no such driver; there are qemu and fake"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_by_our_name_and_by_novas() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["fake", "fake.FakeDriver"] {
            let driver = load(name, &Config::empty(), dir.path(), "host1").unwrap();
            assert_eq!(driver.name(), "fake");
        }
    }

    #[test]
    fn an_unknown_driver_is_refused_with_what_there_is() {
        for name in ["libvirt.LibvirtDriver", "vmwareapi.VMwareVCDriver"] {
            let Err(error) = load(name, &Config::empty(), Path::new("/nonexistent"), "host1") else {
                panic!("{name} was loaded");
            };
            assert!(error.to_string().contains("qemu"), "{error}");
        }
    }
}
