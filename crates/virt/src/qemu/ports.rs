//! The host's ports that lead to guests' ssh. A guest keeps its port while it exists, running or not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::driver::DriverError;

#[derive(Debug)]
pub(super) struct SshPorts {
    address: Ipv4Addr,
    range: RangeInclusive<u16>,
    taken: Mutex<BTreeMap<u16, Uuid>>,
}

impl SshPorts {
    pub(super) fn new(address: Ipv4Addr, range: RangeInclusive<u16>) -> Self {
        Self { address, range, taken: Mutex::default() }
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Notes the port that a guest had before the agent started.
    pub(super) fn adopt(&self, uuid: Uuid, port: u16) {
        self.lock().insert(port, uuid);
    }

    /// A port for a guest: `preferred` if nobody else has it, else a free one. It is the guest's until `release`.
    pub(super) fn reserve(&self, uuid: Uuid, preferred: Option<u16>) -> Result<u16, DriverError> {
        let mut taken = self.lock();
        let is_ours = |port: &u16| taken.get(port).is_none_or(|owner| *owner == uuid);
        let free = preferred.into_iter().chain(self.range.clone()).find(|port| is_ours(port) && self.is_free(*port));
        let Some(port) = free else {
            return Err(DriverError::Host(format!(
                "no port of {}-{} is free for ssh to the guest: widen [qemu] ssh_forward_ports",
                self.range.start(),
                self.range.end()
            )));
        };
        taken.retain(|_, owner| *owner != uuid);
        taken.insert(port, uuid);
        Ok(port)
    }

    pub(super) fn release(&self, uuid: Uuid) {
        self.lock().retain(|_, owner| *owner != uuid);
    }

    // Another process may take it between this look and QEMU's start; that start is then tried again.
    fn is_free(&self, port: u16) -> bool {
        TcpListener::bind((self.address, port)).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Uuid>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ports next to each other that nobody has; the tests, which may run together, look from different places on.
    fn range(from: u16) -> RangeInclusive<u16> {
        (from..60_000)
            .step_by(2)
            .map(|first| first..=first + 1)
            .find(|range| {
                let ports = SshPorts::new(Ipv4Addr::LOCALHOST, range.clone());
                range.clone().all(|port| ports.is_free(port))
            })
            .unwrap()
    }

    #[test]
    fn a_guest_keeps_its_port_and_a_released_one_is_given_again() {
        let range = range(33_000);
        let (first, second) = (*range.start(), *range.end());
        let ports = SshPorts::new(Ipv4Addr::LOCALHOST, range);
        let [a, b, c] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        assert_eq!(ports.reserve(a, None).unwrap(), first);
        assert_eq!(ports.reserve(b, Some(first)).unwrap(), second);
        assert_eq!(ports.reserve(a, Some(first)).unwrap(), first);
        let error = ports.reserve(c, None).unwrap_err();
        assert!(error.to_string().contains("ssh_forward_ports"), "{error}");
        ports.release(a);
        assert_eq!(ports.reserve(c, None).unwrap(), first);
    }

    #[test]
    fn a_port_that_another_process_has_is_passed_over() {
        let range = range(43_000);
        let second = *range.end();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, *range.start())).unwrap();
        let ports = SshPorts::new(Ipv4Addr::LOCALHOST, range.clone());
        let uuid = Uuid::new_v4();
        ports.adopt(uuid, *range.start());
        assert_eq!(ports.reserve(uuid, Some(*range.start())).unwrap(), second);
    }
}
