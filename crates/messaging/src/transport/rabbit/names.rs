//! Names of the queues that are one process's own: random ones, or with `use_queue_manager` those of host and process.
//!
//! A managed name is `<hostname>:<processname>:<n>`. `n` counts the queues of one run of the service, over all of its
//! processes; oslo.messaging keeps the counter in `/dev/shm`, as `<process group>:<counter>:<start time>`, and so does
//! this, so that a service finds its queues again when it changes from the one implementation to the other.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::options::RabbitOptions;
use crate::new_id;

const SHARED_MEMORY: &str = "/dev/shm";

/// Gives out the last part of queue names.
#[derive(Debug)]
pub(super) struct QueueNames {
    manager: Option<Manager>,
}

impl QueueNames {
    pub(super) fn new(options: &RabbitOptions) -> Self {
        let manager = options.use_queue_manager.then(|| Manager::new(Path::new(SHARED_MEMORY), options));
        Self { manager }
    }

    /// A part that no other queue's name has.
    pub(super) fn unique(&self) -> io::Result<String> {
        match &self.manager {
            None => Ok(new_id()),
            Some(manager) => manager.next(),
        }
    }
}

#[derive(Debug)]
struct Manager {
    prefix: String,
    file: PathBuf,
}

impl Manager {
    fn new(dir: &Path, options: &RabbitOptions) -> Self {
        let RabbitOptions { hostname, processname, .. } = options;
        let file = dir.join(format!("{hostname}_{processname}_qmanager"));
        Self { prefix: format!("{hostname}:{processname}"), file }
    }

    fn next(&self) -> io::Result<String> {
        let count = self.count(service_identity()?)?;
        Ok(format!("{}:{count}", self.prefix))
    }

    /// Counts one up in the file, which is locked meanwhile against this service's other processes.
    fn count(&self, identity: (u64, u64)) -> io::Result<u64> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&self.file)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let count = match parse_counter(&text) {
            Some((known, count)) if known == identity => count + 1,
            _ => 1,
        };
        file.rewind()?;
        file.set_len(0)?;
        let (group, started) = identity;
        write!(file, "{group}:{count}:{started}")?;
        Ok(count)
    }
}

/// Process group and start time, and the counter.
fn parse_counter(text: &str) -> Option<((u64, u64), u64)> {
    let mut parts = text.trim().splitn(3, ':').map(str::parse::<u64>);
    let (group, count, started) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    Some(((group, started), count))
}

/// What tells one run of the service from the next: its process group, and when the group's leader started, in ticks
/// since the machine did.
fn service_identity() -> io::Result<(u64, u64)> {
    let group = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
    // The leader may be gone, when a shell started the service.
    let stat = std::fs::read_to_string(format!("/proc/{group}/stat"))
        .or_else(|_| std::fs::read_to_string("/proc/self/stat"))?;
    // The name, in parentheses, may have spaces in it; the start time is the 22nd field, the 20th after the name.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let started = after_name.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    let started = started.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "cannot read /proc/PID/stat"))?;
    Ok((u64::from(group), started))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(dir: &Path) -> Manager {
        let options = RabbitOptions {
            hostname: "h1".to_owned(),
            processname: "nova-compute".to_owned(),
            ..RabbitOptions::default()
        };
        Manager::new(dir, &options)
    }

    #[test]
    fn names_count_up_within_a_run_and_start_over_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let manager = manager(dir.path());
        assert_eq!(manager.next().unwrap(), "h1:nova-compute:1");
        assert_eq!(manager.next().unwrap(), "h1:nova-compute:2");
        let (group, started) = service_identity().unwrap();
        let kept = std::fs::read_to_string(dir.path().join("h1_nova-compute_qmanager")).unwrap();
        assert_eq!(kept, format!("{group}:2:{started}"));
        assert_eq!(manager.count((group, started + 1)).unwrap(), 1);
        assert_eq!(manager.count((group, started + 1)).unwrap(), 2);
    }

    #[test]
    fn a_counter_that_cannot_be_read_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let manager = manager(dir.path());
        for text in ["", "nonsense", "1:2", "1:2:x"] {
            std::fs::write(&manager.file, text).unwrap();
            assert_eq!(manager.next().unwrap(), "h1:nova-compute:1", "after {text:?}");
        }
    }

    #[test]
    fn without_a_manager_names_are_random() {
        let names = QueueNames::new(&RabbitOptions::default());
        let (one, other) = (names.unique().unwrap(), names.unique().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
    }
}
