//! Listens to a channel of Redis, whatever becomes of the connection.

use std::time::Duration;

use futures::StreamExt as _;
use redis::{Client, RedisError, RedisResult};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a silent connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The address of one server: every node of a cluster passes messages on to all.
pub fn one_server(url: &str) -> String {
    match url.split_once("+cluster://") {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}

/// Calls `heard` with each message, and with none when it begins to listen: what was said before may have been missed.
/// `what` says in the log what cannot be done. Returns when the URL makes no sense.
pub async fn subscribe(url: &str, channel: &str, what: &str, heard: impl Fn(Option<&[u8]>) + Sync) {
    let client = match Client::open(one_server(url)) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot {what}"),
    };
    let mut backoff = Backoff::default();
    loop {
        let error = match listen(&client, channel, &mut backoff, &heard).await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        if backoff.is_calm() {
            tracing::warn!(error, "cannot {what}; trying again");
        }
        sleep(backoff.next()).await;
    }
}

async fn listen(
    client: &Client,
    channel: &str,
    backoff: &mut Backoff,
    heard: &(impl Fn(Option<&[u8]>) + Sync),
) -> RedisResult<()> {
    let (mut sink, mut messages) = in_time(CONNECT_TIMEOUT, client.get_async_pubsub()).await?.split();
    in_time(ANSWER_TIMEOUT, sink.subscribe(channel)).await?;
    *backoff = Backoff::default();
    heard(None);
    loop {
        match timeout(PING_EVERY, messages.next()).await {
            Ok(Some(message)) => heard(Some(message.get_payload_bytes())),
            Ok(None) => return Ok(()),
            // A server that has hung, or a network that was cut, is silent too.
            Err(_) => in_time(ANSWER_TIMEOUT, sink.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}

/// Fails when it takes longer.
pub async fn in_time<T>(limit: Duration, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "no answer in time"))),
    }
}
