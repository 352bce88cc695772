//! The `kilonova` binary.

use kilonova::commands::Command;
use kilonova::logging;

/// Gives memory back after a burst, where the C library's keeps it in its arenas (docs/adr/0006).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let command = Command::from_args(std::env::args_os());
    logging::init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command.run())
}
