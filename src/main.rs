//! The command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;

// Much of what a proxy does is small allocations of one size: measured, this is worth a tenth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
