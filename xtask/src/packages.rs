//! Debian packages that the commands need: which of them are missing, and installing those. A program that is already
//! there counts, wherever it came from. Package hosts are apt's business: none is named here.

mod apt;

use anyhow::bail;

use crate::process;
use crate::progress::Step;

/// A Debian package, how to see that what it brings is there, and what for.
pub(crate) struct Package {
    name: &'static str,
    probe: Probe,
    purpose: &'static str,
}

enum Probe {
    Program(&'static str),
    File(&'static str),
    PythonModules(&'static str),
}

const fn program(name: &'static str, program: &'static str, purpose: &'static str) -> Package {
    Package { name, probe: Probe::Program(program), purpose }
}

/// What the QEMU driver calls.
pub(crate) const QEMU: [Package; 3] = [
    program("qemu-system-x86", "qemu-system-x86_64", "runs the guests"),
    program("qemu-utils", "qemu-img", "makes their disks"),
    program("genisoimage", "genisoimage", "makes their config drives"),
];

/// What guest-image/build.sh calls.
pub(crate) const GUEST_IMAGE: [Package; 6] = [
    program("cpio", "cpio", "packs the guest's initramfs"),
    program("e2fsprogs", "mke2fs", "makes the guest's file system"),
    program("grub-common", "grub-mkimage", "makes the guest bootable"),
    Package {
        name: "grub-pc-bin",
        probe: Probe::File("/usr/lib/grub/i386-pc/boot.img"),
        purpose: "makes the guest bootable",
    },
    program("gzip", "gzip", "packs the guest's initramfs"),
    program("qemu-utils", "qemu-img", "makes the guest's disk"),
];

/// What logs in to guests.
pub(crate) const SSH: [Package; 1] = [program("openssh-client", "ssh", "logs in to the guest")];

/// The servers that tests talk to: each test run starts its own, none is used that runs already.
pub(crate) const SERVERS: [Package; 4] = [
    Package {
        name: "rabbitmq-server",
        probe: Probe::File("/usr/lib/rabbitmq/bin/rabbitmq-server"),
        purpose: "the message broker of the tests",
    },
    Package { name: "postgresql", probe: Probe::File("/usr/lib/postgresql"), purpose: "a database of the tests" },
    program("mariadb-server-core", "mariadbd", "a database of the tests"),
    program("mariadb-client-core", "my_print_defaults", "makes MariaDB's data directory"),
];

/// What the Python environments are made with.
pub(crate) const PYTHON: [Package; 1] = [Package {
    name: "python3-venv",
    probe: Probe::PythonModules("venv, ensurepip"),
    purpose: "holds the OpenStack client and the oslo.messaging of the tests",
}];

impl Package {
    async fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(name) => process::find_program(name).is_some(),
            Probe::File(path) => std::path::Path::new(path).exists(),
            Probe::PythonModules(modules) => {
                let mut python = process::program("python3");
                process::capture(python.args(["-c", &format!("import {modules}")])).await.is_ok()
            }
        }
    }
}

/// Installs what is missing of `wanted`, saying which and why.
pub(crate) async fn ensure(wanted: &[&[Package]]) -> anyhow::Result<()> {
    let missing = missing(wanted).await;
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("    missing: {} ({})", package.name, package.purpose);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    let step = Step::loud(format!("installing Debian packages: {}", names.join(" ")));
    apt::install(&names).await?;
    let still = missing_names(wanted).await;
    if !still.is_empty() {
        bail!("apt installed them, but what these should bring is still missing: {}", still.join(" "));
    }
    step.done("");
    Ok(())
}

/// Reads the archives' package lists again; needs root.
pub(crate) async fn update_lists() -> anyhow::Result<()> {
    apt::update().await
}

/// Whether everything the QEMU driver needs is installed.
pub(crate) async fn has_qemu() -> bool {
    missing(&[&QEMU]).await.is_empty()
}

async fn missing<'a>(wanted: &[&'a [Package]]) -> Vec<&'a Package> {
    let mut missing: Vec<&Package> = Vec::new();
    for package in wanted.iter().copied().flatten() {
        let is_listed = missing.iter().any(|listed| listed.name == package.name);
        if !is_listed && !package.is_there().await {
            missing.push(package);
        }
    }
    missing
}

async fn missing_names(wanted: &[&[Package]]) -> Vec<&'static str> {
    missing(wanted).await.iter().map(|package| package.name).collect()
}
