//! What nodes tell each other of circuits, through Redis: behind requests, and not at all while it is away.
//!
//! What a node finds out it tells the others in a message, and writes it down for those that start later. Messages may be
//! lost: every node compares what it knows with what is written down when it has connected, and once in a while.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use redis::RedisResult;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::catalogue::Provider;
use super::MODELS;
use super::message::Message;
use super::told::{News, Written};
use crate::backoff::Backoff;
use crate::provider::circuit::Told;
use crate::provider::wire::Wire;
use crate::subscribe::{in_time, subscribe};

const CHANNEL: &str = "tollgate:circuits";

const TELL: &str = include_str!("tell.lua");

/// How often what is known is compared with what is written down.
const COMPARE: Duration = Duration::from_secs(30);

/// How long Redis may take for anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// After a command that failed Redis is left alone for so long.
const REST: Duration = Duration::from_millis(500);

/// How much later than the node that opened a circuit the others make trials, milliseconds: it tells them meanwhile that it
/// makes its own.
const BEHIND: std::ops::Range<i64> = 100..500;

/// What is written down is forgotten after so long, milliseconds: what is over, and what nobody ends. While there is a node
/// that knows of the latter, it is written down anew.
const PAST: i64 = 3_600_000;
const FOREVER: i64 = 7 * 24 * 3_600_000;

/// Keeps the circuits of nodes in step; to be run.
pub struct CircuitSharing<P, C> {
    url: String,
    /// The providers in force.
    providers: P,
    /// Unix milliseconds, the same for all nodes.
    clock: C,
    /// Told when a circuit has something to tell.
    news: Arc<Notify>,
    /// Told when messages may have been lost.
    missed: Notify,
    /// Who says something: a node does not listen to itself.
    node: u64,
}

impl<P, C> CircuitSharing<P, C>
where
    P: Fn() -> Vec<Arc<Provider>> + Send + Sync + 'static,
    C: Fn() -> i64 + Send + Sync + 'static,
{
    /// Over the Redis at this URL. `news`: of the catalogue that the providers are in.
    #[must_use]
    pub fn new(url: &str, providers: P, clock: C, news: Arc<Notify>) -> Self {
        let (url, missed, node) = (url.to_owned(), Notify::new(), rand::random());
        Self { url, providers, clock, news, missed, node }
    }

    /// Tells and listens until `stop`.
    pub fn start(self, stop: CancellationToken) {
        tokio::spawn(async move {
            let heard = |message: Option<&[u8]>| match message {
                Some(message) => self.hear(message),
                None => self.missed.notify_one(),
            };
            let listening = Box::pin(subscribe(&self.url, CHANNEL, "listen to the circuits of other nodes", heard));
            let telling = Box::pin(self.tell());
            stop.run_until_cancelled(async { tokio::join!(listening, telling) }).await;
        });
    }

    fn hear(&self, message: &[u8]) {
        let Some(message) = Message::read(message).filter(|message| message.node != self.node) else { return };
        for provider in (self.providers)().iter().filter(|provider| provider.fingerprint.as_str() == message.of) {
            provider.circuits.hear(&message.news(), (self.clock)(), behind());
        }
    }

    async fn tell(&self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = self.tell_while_it_lasts(&mut backoff).await;
            if backoff.is_calm() {
                tracing::warn!(%error, "cannot tell other nodes of circuits; trying again");
            }
            sleep(backoff.next().max(REST)).await;
        }
    }

    async fn tell_while_it_lasts(&self, backoff: &mut Backoff) -> RedisResult<std::convert::Infallible> {
        let wire = in_time(PATIENCE, Wire::connect(&self.url)).await?;
        self.compare(&wire).await?;
        self.tell_news(&wire).await?;
        if !std::mem::take(backoff).is_calm() {
            tracing::info!("other nodes are told of circuits again");
        }
        loop {
            let is_news = tokio::select! {
                () = self.news.notified() => true,
                () = self.missed.notified() => false,
                () = sleep(COMPARE) => false,
            };
            if is_news {
                self.tell_news(&wire).await?;
            } else {
                self.compare(&wire).await?;
            }
        }
    }

    async fn tell_news(&self, wire: &Wire) -> RedisResult<()> {
        for provider in (self.providers)() {
            self.tell_all(wire, &provider, provider.circuits.take_news()).await?;
        }
        Ok(())
    }

    /// Takes over what others have written down, and writes down what is missing there.
    async fn compare(&self, wire: &Wire) -> RedisResult<()> {
        let providers = (self.providers)();
        let keys: Vec<_> = providers.iter().map(|provider| key(provider)).collect();
        let found = in_time(PATIENCE, wire.hashes(&keys)).await?;
        for (provider, fields) in providers.iter().zip(found) {
            let missing = provider.circuits.compare(&Written::read(&fields), (self.clock)(), behind());
            self.tell_all(wire, provider, missing).await?;
        }
        Ok(())
    }

    async fn tell_all(&self, wire: &Wire, provider: &Provider, all: Vec<News>) -> RedisResult<()> {
        for news in all {
            let Some(message) = Message::new(self.node, provider.fingerprint.as_str(), &news) else { continue };
            let text = message.write();
            let Some(field) = message.field() else {
                in_time(PATIENCE, wire.publish(CHANNEL, &text)).await?;
                continue;
            };
            let lives = lives(&news, (self.clock)()).to_string();
            let most = (MODELS + 2).to_string();
            let arguments: [&[u8]; 6] =
                [field.name.as_bytes(), &field.text, lives.as_bytes(), most.as_bytes(), CHANNEL.as_bytes(), &text];
            in_time(PATIENCE, wire.run(TELL, &key(provider), &arguments)).await?;
        }
        Ok(())
    }
}

/// All on one server of a cluster, so that they can be read at once.
fn key(provider: &Provider) -> String {
    format!("{{tollgate:circuits}}:{}", provider.fingerprint)
}

fn behind() -> i64 {
    rand::rng().random_range(BEHIND)
}

/// How long something is to be remembered, milliseconds.
fn lives(news: &News, now: i64) -> i64 {
    match news {
        News::Word(_, word) => match word.state {
            Told::Open { until: Some(until), .. } => until.saturating_sub(now).clamp(0, FOREVER) + PAST,
            Told::Open { until: None, .. } => FOREVER,
            Told::Closed => PAST,
        },
        News::Reset(_) | News::Trying(..) => PAST,
    }
}
