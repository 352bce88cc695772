//! What runs guests: the [`Driver`] trait, the drivers behind it, and what they need of the host.
//!
//! The compute manager decides, a driver does. Drivers know no queues, no database and no HTTP; they get everything
//! in their arguments and tell the truth about the hypervisor.

mod console_server;
pub mod driver;
pub mod drivers;
pub mod fake;
pub mod qemu;
mod uptime;

pub use console_server::ConsoleServerConfig;
pub use driver::{
    Capabilities, ConsoleAddress, ConsoleKind, ConsoleLog, DiskImage, Driver, DriverError, FetchError, FinishMigration,
    GuestInfo, HostResources, ImageFile, ImageSource, Injected, LiveMigration, RebootKind, Rescue, RescueDevice,
    Snapshot, Spawn,
};
pub use fake::{FakeDriver, FakeHypervisor, FakeOperation};
pub use qemu::{QemuConfig, QemuDriver};
