//! What the journal costs: CPU time per request of the gateway with it and without, beside what two gateways of the same
//! kind differ by.

use anyhow::Result;

use crate::{
    gateway::Proxy,
    process::{self, Core, Process, free_address},
    scenario::Scenario,
    throughput::{CONNECTIONS, Measured, round},
};

/// Two of each kind, without the journal or with it.
const GATEWAYS: [(&str, bool); 4] =
    [("with journal, A", false), ("with journal, B", false), ("without, A", true), ("without, B", true)];

/// Requests that warm one up, and tell how many a round takes.
const TRIAL: u64 = 2_000;

/// Measures all four in turns, so that noise meets each of them, and prints the table.
pub async fn run(quick: bool) -> Result<()> {
    let (rounds, seconds) = if quick { (2, 0.5) } else { (8, 4.0) };
    let upstream = free_address()?;
    let mut upstream_process = Process::part(Core::Others, &["upstream", &upstream.to_string()])?;
    upstream_process.listens(upstream).await?;
    let mut gateways = Vec::new();
    let mut rate = 0.0;
    for (title, without_journal) in GATEWAYS {
        let gateway = Proxy::part(title, upstream, without_journal).await?;
        rate = round(&gateway, Scenario::Small, TRIAL).await?.per_second;
        gateways.push((gateway, Vec::new()));
    }
    // CPU time is counted in hundredths of a second.
    let requests = (rate * seconds).max(2_000.0) as u64;
    for turn in 0..rounds {
        for place in 0..GATEWAYS.len() {
            // Each goes first, second, third and last as often as the others.
            let (gateway, measured) = &mut gateways[(turn + place) % GATEWAYS.len()];
            measured.push(round(gateway, Scenario::Small, requests).await?);
        }
    }
    println!(
        "\nthe journal: {CONNECTIONS} connections, small requests, {rounds} rounds of {requests} each, in turns; {}",
        process::placement()
    );
    let mut costs = Vec::new();
    for (gateway, measured) in &gateways {
        let cost = 1e6 / Measured::median(measured).per_cpu_second;
        let mut rounds: Vec<_> = measured.iter().map(|round| 1e6 / round.per_cpu_second).collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "{:<31}{cost:>10.1} us of CPU per request (rounds from {:.1} to {:.1})",
            gateway.title,
            rounds[0],
            rounds[rounds.len() - 1]
        );
        gateway.all_charged(TRIAL + requests * rounds.len() as u64).await?;
        costs.push(cost);
    }
    let [with, with_too, without, without_too] = costs[..] else { unreachable!("there are four") };
    let spread = (with - with_too).abs().max((without - without_too).abs());
    let difference = f64::midpoint(with, with_too) - f64::midpoint(without, without_too);
    let verdict = if difference <= spread { "within the spread" } else { "MORE than the spread" };
    println!("{:<31}{difference:>10.1} us, two of the same kind differ by {spread:.1}: {verdict}", "the journal");
    Ok(())
}
