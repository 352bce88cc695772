//! Whether guests run on the processor (KVM) or are emulated (TCG).

use std::fs::OpenOptions;
use std::sync::Once;

use super::config::VirtType;
use crate::driver::DriverError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// What this host can do and the configuration wants.
    pub(super) fn detect(wanted: VirtType) -> Result<Self, DriverError> {
        if wanted == VirtType::Qemu {
            return Ok(Self::Tcg);
        }
        let obstacle = obstacle();
        match (obstacle, wanted) {
            (None, _) => Ok(Self::Kvm),
            (Some(reason), VirtType::Kvm) => {
                Err(DriverError::Host(format!("[libvirt] virt_type = kvm, but {reason}; virt_type = qemu emulates")))
            }
            (Some(reason), _) => {
                warn_once(&reason);
                Ok(Self::Tcg)
            }
        }
    }

    /// For `-machine accel=`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// For `-cpu`: all that the processor, or the emulation, has.
    pub(super) fn cpu_model(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// Why KVM cannot be used. The device alone does not tell: under some hypervisors it is there, and ordinary guest
/// kernels hang on it.
fn obstacle() -> Option<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_virtualization(&cpuinfo) {
        return Some("the processor shows neither vmx nor svm".to_owned());
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.err().map(|error| format!("/dev/kvm cannot be used: {error} (is the user in the group kvm?)"))
}

fn has_virtualization(cpuinfo: &str) -> bool {
    let is_flag = |flag: &str| matches!(flag, "vmx" | "svm");
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    flags.is_some_and(|flags| flags.split_ascii_whitespace().any(is_flag))
}

fn warn_once(reason: &str) {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| {
        tracing::warn!(reason, "guests are emulated (TCG), which is many times slower than KVM");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_processors_own_flags_count() {
        assert!(has_virtualization("vendor_id\t: x\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualization("flags\t\t: svm\n"));
        assert!(!has_virtualization("flags\t\t: fpu vmmcall hypervisor\n"));
        assert!(!has_virtualization(""));
    }
}
