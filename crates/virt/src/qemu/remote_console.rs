//! Consoles that one connects to: the screen by VNC, and the first serial port. QEMU listens on sockets in the guest's
//! directory only; who has a permit is led there.

use uuid::Uuid;

use super::QemuDriver;
use super::process::Process;
use super::record::GuestRecord;
use crate::console_server::{Connect, Stream};
use crate::driver::{ConsoleAddress, ConsoleKind, DriverError};

pub(super) async fn address(driver: &QemuDriver, uuid: Uuid, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
    let dir = driver.dir(uuid);
    let record = GuestRecord::read(&dir)?;
    let socket = match kind {
        ConsoleKind::Vnc if record.hardware.has_screen => "vnc.sock",
        ConsoleKind::Vnc => return Err(DriverError::NotSupported("a screen of a guest that was made without one")),
        ConsoleKind::Serial => "serial.sock",
        ConsoleKind::Spice | ConsoleKind::Mks => return Err(DriverError::NotSupported("a console of that kind")),
    };
    if Process::find(&dir).is_none() {
        return Err(DriverError::InstanceNotRunning(uuid));
    }
    let connect: Connect = Box::new(move || {
        Box::pin(async move {
            let stream = dir.connect(socket).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    });
    driver.consoles.permit(connect).await
}
