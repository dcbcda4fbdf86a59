//! How fast the ledger takes records, how fast budgets read their sums back, and what a row takes on disk.
//!
//! `cargo bench --bench ledger [-- --quick] [--rows N] [-- writer|journal|sums]`. PostgreSQL is one that this starts, with
//! the settings of the tests: it does not force anything to disk. So figures are those of the two programs, not of the
//! disk; a raw `COPY` of the same rows in the same run says what the server can do on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench")]

mod database;
mod journal;
mod records;
mod sums;
mod writer;

#[path = "../../tests/support/mod.rs"]
mod support;

use clap::{Parser, ValueEnum};

/// Measures the ledger.
#[derive(Debug, Parser)]
struct Cli {
    /// Which part; all of them unless said.
    part: Option<Part>,
    /// Few records, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Rows of the ledger whose sums are read.
    #[arg(long)]
    rows: Option<u64>,
    /// What Cargo says to benches.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Writer,
    Journal,
    Sums,
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    let wanted = |part| cli.part.is_none_or(|only| only == part);
    if wanted(Part::Journal) {
        journal::run(if cli.quick { 10_000 } else { 100_000 });
    }
    if wanted(Part::Writer) {
        writer::run(if cli.quick { 20_000 } else { 200_000 }).await;
    }
    if wanted(Part::Sums) {
        sums::run(cli.rows.unwrap_or(if cli.quick { 300_000 } else { 10_000_000 })).await;
    }
}
