//! What an open stream costs in memory.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};
use tokio::time::timeout;

use crate::{
    gateway::{Proxy, Subject},
    generate::{self, Client},
    process::{self, Core, Process, free_address},
    scenario::{EVENTS_BEFORE_HOLD, RELEASE_PATH, Scenario, event},
};

const STREAMS: usize = 1_000;
/// What one may cost, in KiB.
const AIM_KIB: f64 = 100.0;
/// Enough to have used every path once; few, because the allocator keeps what they used.
const WARM_UP_STREAMS: usize = 10;
/// Streams that are opened at a time: a backlog of connections is not what is measured.
const OPENING: usize = 50;
/// Each proxy has two connections per stream.
const OPEN_FILES: u64 = 8_192;
/// It takes seconds: longer, and something hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Opens all streams through each proxy and prints what one of them costs.
pub async fn run(subject: Subject) -> Result<()> {
    process::raise_open_files(OPEN_FILES)?;
    println!("\nresident memory of the proxy while {STREAMS} streams are open");
    let ours = with_upstream(async |upstream| cost(&Proxy::subject(subject, upstream).await?, upstream).await).await?;
    with_upstream(async |upstream| cost(&Proxy::passthrough(upstream).await?, upstream).await).await?;
    if matches!(subject, Subject::Tollgate) {
        let verdict = if ours < AIM_KIB { "reached" } else { "MISSED" };
        println!("{:<15}aim below {AIM_KIB:.0} KiB: {verdict}", "");
    }
    Ok(())
}

async fn with_upstream(of: impl AsyncFnOnce(SocketAddr) -> Result<f64>) -> Result<f64> {
    let address = free_address()?;
    let mut upstream = Process::part(Core::Others, &["upstream", &address.to_string()])?;
    upstream.listens(address).await?;
    timeout(LIMIT, of(address)).await.context("the streams do not come to their end")?
}

/// KiB per stream through `proxy`.
async fn cost(proxy: &Proxy, upstream: SocketAddr) -> Result<f64> {
    // A proxy that is the upstream itself holds the streams itself.
    let holder = if proxy.is_upstream() { proxy.address } else { upstream };
    let warm_up = open(proxy, WARM_UP_STREAMS).await?;
    release(holder).await?;
    finish(warm_up).await?;

    let before = proxy.process.resident_kib()?;
    let streams = open(proxy, STREAMS).await?;
    let open = proxy.process.resident_kib()?;
    release(holder).await?;
    finish(streams).await?;
    proxy.all_charged((WARM_UP_STREAMS + STREAMS) as u64).await?;

    let each = open.saturating_sub(before) as f64 / STREAMS as f64;
    println!("{:<15}{each:>8.1} KiB per stream ({before} KiB before, {open} KiB with all open)", proxy.title);
    Ok(each)
}

/// A stream of which everything has been read that comes before the upstream waits.
struct Open {
    /// Dropping it would close the connection.
    _client: Client,
    response: Response<Incoming>,
    read: u64,
}

async fn open(proxy: &Proxy, count: usize) -> Result<Vec<Open>> {
    stream::iter(0..count)
        .map(|number| open_one(proxy, &proxy.keys[number % proxy.keys.len()]))
        .buffer_unordered(OPENING)
        .try_collect()
        .await
}

async fn open_one(proxy: &Proxy, key: &str) -> Result<Open> {
    let mut client = Client::connect(proxy.address, key).await?;
    let mut response = client.begin(Scenario::Held.request()).await?;
    let expected = (EVENTS_BEFORE_HOLD * event().len()) as u64;
    let mut read = 0;
    while read < expected {
        let frame = response.frame().await.context("a held stream ended")??;
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(Open { _client: client, response, read })
}

async fn release(upstream: SocketAddr) -> Result<()> {
    reqwest::get(format!("http://{upstream}{RELEASE_PATH}")).await?.error_for_status()?;
    Ok(())
}

async fn finish(streams: Vec<Open>) -> Result<()> {
    stream::iter(streams)
        .map(async |open| generate::finish(open.response, open.read, Scenario::Held).await.map(|_| ()))
        .buffer_unordered(STREAMS)
        .try_collect()
        .await
}
