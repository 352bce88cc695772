//! The `kilonova` binary.

use std::process::ExitCode;

use kilonova::commands::{Command, Exit};
use kilonova::logging;

/// Gives memory back after a burst, where the C library's keeps it in its arenas (docs/adr/0006).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let command = Command::from_args(std::env::args_os());
    logging::init();
    let done = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command.run());
    match done.map_err(anyhow::Error::downcast::<Exit>) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ok(exit)) => {
            let message = exit.to_string();
            if !message.is_empty() {
                eprintln!("{message}");
            }
            Ok(ExitCode::from(exit.status))
        }
        Err(Err(error)) => Err(error),
    }
}
