//! What the gateway costs: the real binary beside a plain Pingora pass-through, in one run, under the same load.
//!
//! `cargo bench --bench load [-- --quick] [-- throughput|journal|memory]`. This binary plays every part but the gateway's, each
//! in a process of its own:
//!
//! ```text
//! generate (rlt, hyper) ──> tollgate    ──> upstream (hyper)
//!                      └──> passthrough ──┘
//! ```
//!
//! On Linux with `taskset` the proxy under test has the first core to itself (and one worker thread), the rest runs on
//! the others; the two proxies take turns, so that noise meets both. Rates depend on the machine: the ratios of
//! CPU time per request are what counts. Every answer is checked; one that is not whole fails the run.
#![allow(clippy::print_stdout, reason = "a bench reports on standard output")]

mod gateway;
mod generate;
mod journal;
mod memory;
mod passthrough;
mod process;
mod scenario;
mod throughput;
mod upstream;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};

// The product's allocator: a difference between the proxies is then their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    /// Shorter rounds: less than a minute for everything.
    #[arg(long, env = "SHORT", value_parser = clap::builder::FalseyValueParser::new(), global = true)]
    quick: bool,
    /// Without the gateway: the pass-through is compared with the upstream itself, to see what the bench can measure.
    #[arg(long, global = true)]
    no_gateway: bool,
    /// Cargo passes it to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Only CPU time, rates and latencies.
    Throughput,
    /// Only CPU time per request with the journal and without it.
    Journal,
    /// Only what an open stream costs.
    Memory,
    #[command(hide = true)]
    Gateway(gateway::Serve),
    #[command(hide = true)]
    Generate(Box<generate::Generate>),
    #[command(hide = true)]
    Passthrough { listen: SocketAddr, upstream: SocketAddr },
    #[command(hide = true)]
    Upstream { listen: SocketAddr },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let subject = if cli.no_gateway { gateway::Subject::Direct } else { gateway::Subject::Tollgate };
    match cli.part {
        Some(Part::Passthrough { listen, upstream }) => passthrough::run(listen, upstream),
        Some(Part::Upstream { listen }) => runtime()?.block_on(upstream::run(listen)),
        Some(Part::Generate(generate)) => runtime()?.block_on(generate.run()),
        Some(Part::Throughput) => runtime()?.block_on(throughput::run(subject, cli.quick)),
        Some(Part::Journal) => runtime()?.block_on(journal::run(cli.quick)),
        Some(Part::Gateway(serve)) => serve.run(),
        Some(Part::Memory) => runtime()?.block_on(memory::run(subject)),
        None => runtime()?.block_on(async {
            throughput::run(subject, cli.quick).await?;
            if !cli.no_gateway {
                journal::run(cli.quick).await?;
            }
            memory::run(subject).await
        }),
    }
}

/// One thread is enough for a part that has one core.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
