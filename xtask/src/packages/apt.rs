//! apt-get without a person at it, as root or by sudo. It retries where a machine's state is the cause: once after
//! `apt-get update` where the lists are missing or old, and once with qemu packages taken back to the archive's
//! version where a newer one, from a suite that is no longer configured, makes the wanted ones uninstallable.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::process;

const NO_QUESTIONS: &str = "DEBIAN_FRONTEND=noninteractive";
/// Without systemd, init scripts start nothing in run level 1: a server that a package brings is not wanted running.
const NO_SERVICES: &str = "RUNLEVEL=1";

/// Installs packages; their recommendations stay out.
pub(super) async fn install(packages: &[&str]) -> anyhow::Result<()> {
    if process::find_program("apt-get").is_none() {
        bail!("this is no Debian: install what these packages have in your own way: {}", packages.join(" "));
    }
    let root = Root::find().await;
    if matches!(root, Root::No) {
        bail!("installing needs root, and sudo does not give it; run this, then try again:\n  {}", by_hand(packages));
    }
    let mut is_updated = false;
    let mut pins = Vec::new();
    if !all_known(packages).await? {
        update_as(root).await?;
        is_updated = true;
    }
    loop {
        let (status, output) = process::run_and_keep(&mut install_command(root, packages, &pins)).await?;
        if status.success() {
            return Ok(());
        }
        match diagnose(&output) {
            Cause::OldLists if !is_updated => {
                println!("    the package lists are old: updating them");
                update_as(root).await?;
                is_updated = true;
            }
            Cause::Unmet if pins.is_empty() => {
                pins = foreign_qemu_packages().await?;
                if pins.is_empty() {
                    bail!("apt cannot install {}: see above", packages.join(" "));
                }
                let shown = pins.join(" ");
                println!("    installed qemu packages are newer than the archive's: taking them back, {shown}");
            }
            _ => bail!("apt-get failed ({status}); by hand: {}", by_hand(packages)),
        }
    }
}

/// `apt-get update`.
pub(super) async fn update() -> anyhow::Result<()> {
    match Root::find().await {
        Root::No => bail!("updating the package lists needs root: run apt-get update as root, then try again"),
        root => update_as(root).await,
    }
}

async fn update_as(root: Root) -> anyhow::Result<()> {
    let (status, _) = process::run_and_keep(root.command("apt-get").args(["-q", "update"])).await?;
    if !status.success() {
        bail!("apt-get update failed ({status})");
    }
    Ok(())
}

fn install_command(root: Root, packages: &[&str], pins: &[String]) -> Command {
    let mut command = root.command("apt-get");
    // what is installed stays: apt would rather remove what is in the way than fail
    command.args(["-q", "-y", "install", "--no-install-recommends", "--no-remove"]);
    if !pins.is_empty() {
        command.arg("--allow-downgrades");
    }
    // a wanted package that is pinned must not be there a second time without its version
    let is_pinned = |name: &str| pins.iter().any(|pin| pin.split('=').next() == Some(name));
    command.args(packages.iter().filter(|name| !is_pinned(name))).args(pins);
    command
}

fn by_hand(packages: &[&str]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Who may install.
#[derive(Clone, Copy)]
enum Root {
    Already,
    BySudo,
    No,
}

impl Root {
    async fn find() -> Self {
        if rustix::process::geteuid().is_root() {
            return Self::Already;
        }
        if process::find_program("sudo").is_none() {
            return Self::No;
        }
        let asks_nothing = process::capture(process::program("sudo").args(["-n", "true"])).await.is_ok();
        if asks_nothing || std::io::stdin().is_terminal() { Self::BySudo } else { Self::No }
    }

    /// sudo drops the environment, so what apt is to know goes through `env`.
    fn command(self, name: &str) -> Command {
        let mut command = match self {
            Self::BySudo => {
                let mut sudo = process::program("sudo");
                sudo.arg("env");
                sudo
            }
            Self::Already | Self::No => process::program("env"),
        };
        command.args([NO_QUESTIONS, NO_SERVICES, "LC_ALL=C", name]);
        command
    }
}

#[derive(Debug, PartialEq)]
enum Cause {
    OldLists,
    Unmet,
    Other,
}

fn diagnose(output: &str) -> Cause {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| output.contains(phrase));
    if says(&["unmet dependencies", "held broken packages", "Unable to correct problems", "to be removed but remove"]) {
        Cause::Unmet
    } else if says(&["Unable to locate package", "no installation candidate", "Failed to fetch", "Unable to fetch"]) {
        Cause::OldLists
    } else {
        Cause::Other
    }
}

/// Whether apt's lists have every package.
async fn all_known(packages: &[&str]) -> anyhow::Result<bool> {
    let policy = policy(packages).await?;
    Ok(packages.iter().all(|name| policy.iter().any(|known| known.name == *name && known.has_candidate)))
}

/// `name=version` for each installed qemu package whose version no archive has, with the version that one has.
async fn foreign_qemu_packages() -> anyhow::Result<Vec<String>> {
    let mut query = process::program("dpkg-query");
    let listed = process::capture(query.args(["-W", "-f", "${db:Status-Status} ${Package}\n", "qemu*"])).await?;
    let installed: Vec<_> = listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    Ok(policy(&installed).await?.into_iter().filter_map(|package| package.pin()).collect())
}

async fn policy(packages: &[&str]) -> anyhow::Result<Vec<Policy>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = process::program("apt-cache");
    let text = process::capture(command.env("LC_ALL", "C").arg("policy").args(packages)).await;
    Ok(parse_policy(&text.context("cannot ask apt what it has")?))
}

/// What `apt-cache policy` says of one package.
#[derive(Debug, Default, PartialEq)]
struct Policy {
    name: String,
    installed: Option<String>,
    has_candidate: bool,
    /// Versions that an archive has, newest first.
    archived: Vec<String>,
}

impl Policy {
    /// What takes the package back to an archive's version; nothing where it has one, or none is known.
    fn pin(self) -> Option<String> {
        let installed = self.installed?;
        let newest = self.archived.first()?;
        (!self.archived.contains(&installed)).then(|| format!("{}={newest}", self.name))
    }
}

/// The output is, for each package, its name at the left edge, `Installed:` and `Candidate:`, then a version table: a
/// version (after `***` if installed) on a line of its own, and below it, further in, its sources with their priority.
fn parse_policy(text: &str) -> Vec<Policy> {
    let mut packages: Vec<Policy> = Vec::new();
    let mut version = None;
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            packages.push(Policy { name: name.to_owned(), ..Policy::default() });
            continue;
        }
        let Some(package) = packages.last_mut() else { continue };
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["Installed:", installed] => package.installed = Some(installed.to_owned()).filter(|it| it != "(none)"),
            ["Candidate:", candidate] => package.has_candidate = candidate != "(none)",
            ["Version", "table:"] => {}
            ["***", listed, _] => version = Some(listed.to_owned()),
            // no archive, but dpkg's own list of what is installed
            [_, path] if path.starts_with('/') => {}
            [listed, _] => version = Some(listed.to_owned()),
            [_, _, ..] if line.starts_with("        ") => package.archived.extend(version.take()),
            _ => {}
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
qemu-utils:
  Installed: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Candidate: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Version table:
 *** 1:10.0.2+ds-2+deb13u1~bpo12+1 100
        100 /var/lib/dpkg/status
     1:7.2+dfsg-7+deb12u18 500
        500 http://archive.example/debian bookworm/main amd64 Packages
     1:7.2+dfsg-7+deb12u15 500
        500 http://archive.example/debian-security bookworm-security/main amd64 Packages
qemu-block-extra:
  Installed: 1:7.2+dfsg-7+deb12u18
  Candidate: 1:7.2+dfsg-7+deb12u18
  Version table:
 *** 1:7.2+dfsg-7+deb12u18 500
        500 http://archive.example/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
qemu-system-x86:
  Installed: (none)
  Candidate: 1:7.2+dfsg-7+deb12u18
  Version table:
     1:7.2+dfsg-7+deb12u18 500
        500 http://archive.example/debian bookworm/main amd64 Packages
qemu-old:
  Installed: 1:2.0
  Candidate: 1:2.0
  Version table:
 *** 1:2.0 100
        100 /var/lib/dpkg/status
qemu-virtual:
  Installed: (none)
  Candidate: (none)
  Version table:
";

    #[test]
    fn only_a_package_that_no_archive_has_is_taken_back() {
        let pins: Vec<_> = parse_policy(POLICY).into_iter().filter_map(Policy::pin).collect();
        assert_eq!(pins, ["qemu-utils=1:7.2+dfsg-7+deb12u18"]);
    }

    #[test]
    fn a_package_without_candidate_is_unknown() {
        let parsed = parse_policy(POLICY);
        let unknown: Vec<_> = parsed.iter().filter(|it| !it.has_candidate).map(|it| it.name.as_str()).collect();
        assert_eq!(unknown, ["qemu-virtual"]);
    }

    #[test]
    fn the_cause_of_a_failure_is_read_from_what_apt_says() {
        let unmet = "The following packages have unmet dependencies:\n qemu-system-x86 : Depends: qemu-system-common";
        assert_eq!(diagnose(unmet), Cause::Unmet);
        assert_eq!(diagnose("E: Packages need to be removed but remove is disabled."), Cause::Unmet);
        assert_eq!(diagnose("E: Unable to locate package cpio"), Cause::OldLists);
        assert_eq!(diagnose("E: Failed to fetch http://x/y.deb  404  Not Found"), Cause::OldLists);
        assert_eq!(diagnose("E: Could not get lock"), Cause::Other);
    }

    #[test]
    fn a_wanted_package_that_is_taken_back_is_named_once() {
        let pins = ["qemu-utils=1:7.2".to_owned()];
        let shown = process::shown(&install_command(Root::Already, &["qemu-system-x86", "qemu-utils"], &pins));
        let (_, packages) = shown.split_once("--allow-downgrades ").unwrap();
        assert_eq!(packages, "qemu-system-x86 qemu-utils=1:7.2");
    }
}
