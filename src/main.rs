//! The command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;

// Much of what a proxy does is small allocations of one size: measured, this is worth a tenth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    cli::Cli::parse().run()
}

/// An open stream needs some pages here and there; where huge ones back them, much of these stays empty. Measured:
/// 87 KiB per stream instead of 148. Programs that this one starts inherit it.
fn without_huge_pages() {
    // A kernel that does not know the setting costs memory, nothing else.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}
