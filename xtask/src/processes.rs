//! What /proc says of processes, and the guests that a cloud which is gone left behind.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// Resident memory in MB (10^6 bytes).
pub(crate) fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib: f64 = kib.with_context(|| format!("{path} has no VmRSS"))?.trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Ids of all processes that there are.
pub(crate) fn all() -> anyhow::Result<BTreeSet<i32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// A running QEMU that has `word` in its command line and is not one of `known`.
pub(crate) fn find_qemu(word: &str, known: &BTreeSet<i32>) -> anyhow::Result<Option<i32>> {
    Ok(all()?.difference(known).copied().find(|pid| is_qemu(*pid, word)))
}

/// Ends the guests whose files are below `dir`, which was this run's own. With a cloud that stopped in good order there
/// are none.
pub(crate) fn end_guests_of(dir: &Path) -> anyhow::Result<()> {
    let below = format!("{}/", dir.display());
    for pid in all()?.into_iter().filter(|pid| is_qemu(*pid, &below)).filter_map(Pid::from_raw) {
        println!("    a guest was left behind: ending QEMU {pid}");
        // it may be gone by now
        let _ = kill_process(pid, Signal::TERM);
    }
    Ok(())
}

/// Its programs that make disks have the word in their command line, too, and another name.
fn is_qemu(pid: i32, word: &str) -> bool {
    // a process may be gone by now
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let command_line = String::from_utf8_lossy(&command_line);
    let program = command_line.split('\0').next().unwrap_or_default();
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("qemu-system") && command_line.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn this_process_is_resident_and_listed() {
        assert!(resident_mb(own_pid()).unwrap() > 0.5);
        assert!(all().unwrap().contains(&own_pid()));
    }

    #[test]
    fn only_a_program_named_qemu_system_is_a_qemu() {
        assert!(!is_qemu(own_pid(), ""));
        // the name is the process's own first argument, so any program can have it
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("qemu-system-x86_64");
        std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
        let known = all().unwrap();
        let mut child = std::process::Command::new(&link).arg("4321").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while find_qemu("4321", &known).unwrap() != Some(pid) {
            assert!(std::time::Instant::now() < deadline, "not found");
        }
        assert_eq!(find_qemu("1234", &known).unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
