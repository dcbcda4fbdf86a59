//! Requests per second of CPU time, and latency, of both proxies in turns.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::{
    gateway::{Proxy, Subject},
    process::{self, Core, Process, free_address},
    scenario::Scenario,
};

pub const CONNECTIONS: u32 = 32;
/// How much of the pass-through the gateway should reach, with small bodies.
const AIM: f64 = 0.75;

struct Plan {
    rounds: usize,
    round_seconds: f64,
}

/// Measures all scenarios and prints the table.
pub async fn run(subject: Subject, quick: bool) -> Result<()> {
    let plan = if quick { Plan { rounds: 3, round_seconds: 1.0 } } else { Plan { rounds: 5, round_seconds: 5.0 } };
    let upstream = free_address()?;
    let mut upstream_process = Process::part(Core::Others, &["upstream", &upstream.to_string()])?;
    upstream_process.listens(upstream).await?;
    let subject = Proxy::subject(subject, upstream).await?;
    let yardstick = Proxy::passthrough(upstream).await?;

    println!(
        "\n{CONNECTIONS} connections, {} rounds of about {} s each, in turns; {}",
        plan.rounds,
        plan.round_seconds,
        process::placement()
    );
    println!("{:<31}{:<15}{:>14}{:>14}{:>11}{:>11}", "", "", "requests/CPU s", "requests/s", "p50 ms", "p99 ms");
    let mut charged = 0;
    for scenario in Scenario::MEASURED {
        let (ours, theirs) = compare(&subject, &yardstick, scenario, &plan, &mut charged).await?;
        print_row(scenario.title(), subject.title, &ours);
        print_row("", yardstick.title, &theirs);
        let ratio = ours.per_cpu_second / theirs.per_cpu_second;
        println!(
            "{:<31}{:<15}{ratio:>14.2}{:>14.2}{:>11.2}{:>11.2}",
            "",
            "ratio",
            ours.per_second / theirs.per_second,
            ours.p50 / theirs.p50,
            ours.p99 / theirs.p99
        );
        if scenario == Scenario::Small && !subject.is_upstream() {
            let verdict = if ratio >= AIM { "reached" } else { "MISSED" };
            println!("{:<31}aim {AIM} of the {}'s requests per CPU second: {verdict}", "", yardstick.title);
        }
    }
    subject.all_charged(charged).await
}

fn print_row(scenario: &str, title: &str, of: &Measured) {
    println!(
        "{scenario:<31}{title:<15}{:>14.0}{:>14.0}{:>11.3}{:>11.3}",
        of.per_cpu_second,
        of.per_second,
        of.p50 * 1e3,
        of.p99 * 1e3
    );
}

/// The rounds of one scenario; `sent` counts the requests of the first proxy.
async fn compare(
    subject: &Proxy,
    yardstick: &Proxy,
    scenario: Scenario,
    plan: &Plan,
    sent: &mut u64,
) -> Result<(Measured, Measured)> {
    // A first round warms both up, and tells how many requests a round takes.
    let trial = if scenario == Scenario::Small { 2_000 } else { 500 };
    let rate = round(yardstick, scenario, trial).await?.per_second;
    round(subject, scenario, trial).await?;
    *sent += trial;
    let requests = (rate * plan.round_seconds).max(f64::from(CONNECTIONS)) as u64;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..plan.rounds {
        // Each goes first as often as the other.
        if number % 2 == 0 {
            ours.push(round(subject, scenario, requests).await?);
            theirs.push(round(yardstick, scenario, requests).await?);
        } else {
            theirs.push(round(yardstick, scenario, requests).await?);
            ours.push(round(subject, scenario, requests).await?);
        }
        *sent += requests;
    }
    Ok((Measured::median(&ours), Measured::median(&theirs)))
}

/// What one round showed, in requests and seconds.
#[derive(Clone, Copy)]
pub struct Measured {
    pub per_cpu_second: f64,
    pub per_second: f64,
    p50: f64,
    p99: f64,
}

impl Measured {
    pub fn median(rounds: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            per_cpu_second: of(|m| m.per_cpu_second),
            per_second: of(|m| m.per_second),
            p50: of(|m| m.p50),
            p99: of(|m| m.p99),
        }
    }
}

/// So many requests through a proxy.
pub async fn round(proxy: &Proxy, scenario: Scenario, requests: u64) -> Result<Measured> {
    let scenario = scenario.to_possible_value().context("a scenario without a name")?;
    let before = proxy.process.cpu_seconds_at_rest().await?;
    let (address, connections) = (proxy.address.to_string(), CONNECTIONS.to_string());
    let count = requests.to_string();
    let mut arguments = vec!["generate", &address, scenario.get_name()];
    arguments.extend(["--connections", &connections, "--requests", &count]);
    arguments.extend(proxy.keys.iter().flat_map(|key| ["--key", key]));
    let output = process::output_of_part(&arguments).await?;
    let used = proxy.process.cpu_seconds_at_rest().await? - before;
    let report: Report = serde_json::from_slice(&output)?;
    let done = report.status.get("Success(200)").copied().unwrap_or_default();
    ensure!(
        report.errors.is_empty() && done == requests,
        "{done} of {requests} requests through {} succeeded: {:?} {:?}",
        proxy.title,
        report.status,
        report.errors
    );
    let percentiles = report.latency.context("a report without latencies")?.percentiles;
    let percentile = |name: &str| percentiles.get(name).copied().context("a report without percentiles");
    Ok(Measured {
        per_cpu_second: requests as f64 / used.max(0.01),
        per_second: report.summary.iters.rate,
        p50: percentile("p50")?,
        p99: percentile("p99")?,
    })
}

/// rlt's report, as far as it is used.
#[derive(Deserialize)]
struct Report {
    summary: Summary,
    /// Only there when at least one request succeeded.
    latency: Option<Latency>,
    status: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Summary {
    iters: Iterations,
}

#[derive(Deserialize)]
struct Iterations {
    rate: f64,
}

#[derive(Deserialize)]
struct Latency {
    percentiles: BTreeMap<String, f64>,
}
