//! What nodes tell each other of conversations, through Redis: behind requests, in batches, and not at all while it is
//! away.
//!
//! A node tells the others in a message, so that they need not ask. From the second turn on it also leaves that in a key
//! that lives as long as the conversation is remembered, for nodes that start later. A node asks for that key only when it
//! does not know a conversation that has a past; the first turn of a conversation never waits.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::RedisResult;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Affinity;
use super::name::{Secret, ThreadName};
use crate::backoff::Backoff;
use crate::provider::wire::Wire;
use crate::subscribe::{in_time, subscribe};

const CHANNEL: &str = "tollgate:affinity";

/// What waits to be told. What comes on top is not told until the conversation is next served.
const QUEUE: usize = 4_096;

/// Told at once.
const BATCH: usize = 256;

/// A longer message is not one of ours.
const MESSAGE_MAX: usize = 256 * 1024;

/// After a command that failed Redis is left alone for so long: what it does not answer in time would be waited for again
/// and again.
const REST: Duration = Duration::from_secs(1);

/// How long a batch may take.
const TELLING: Duration = Duration::from_secs(2);

/// A conversation, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub thread: ThreadName,
    pub provider: Arc<str>,
    /// Unix milliseconds.
    pub since: i64,
    /// Whether it is written down: what is asked once and never again shall not fill Redis.
    pub lasts: bool,
    /// How long it is to be remembered then, milliseconds.
    pub ttl: i64,
}

/// The way to the other nodes.
pub(super) struct Elsewhere {
    queue: mpsc::Sender<Told>,
    /// None: nobody answers.
    wire: ArcSwapOption<Wire>,
    connected_at: AtomicI64,
    lost: Notify,
    patience: Duration,
}

impl Elsewhere {
    pub fn new(patience: Duration) -> (Self, mpsc::Receiver<Told>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let elsewhere = Self {
            queue: sender,
            wire: ArcSwapOption::empty(),
            connected_at: AtomicI64::new(i64::MIN),
            lost: Notify::new(),
            patience,
        };
        (elsewhere, queue)
    }

    /// Since when somebody answers, Unix milliseconds.
    pub fn connected_at(&self) -> i64 {
        self.connected_at.load(Ordering::Relaxed)
    }

    /// Tells them, as soon as Redis takes it. Never waits, never fails.
    pub fn tell(&self, told: Told) {
        let _ = self.queue.try_send(told);
    }

    /// Where the others say that a conversation is, and since when.
    pub async fn ask(&self, thread: ThreadName) -> Option<(i64, Arc<str>)> {
        let wire = self.wire.load_full()?;
        match in_time(self.patience, wire.read(&key(thread))).await {
            Ok(found) => {
                let found = found?;
                let (since, provider) = found.split_once(' ')?;
                Some((since.parse().ok()?, provider.into()))
            }
            Err(error) => {
                tracing::debug!(%error, "Redis does not say where a conversation is");
                self.lose(&wire);
                None
            }
        }
    }

    /// This way leads nowhere any more.
    fn lose(&self, wire: &Arc<Wire>) {
        let before = self.wire.compare_and_swap(wire, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, wire)) {
            self.lost.notify_one();
        }
    }
}

/// Keeps nodes in step; to be run.
pub struct Sharing {
    affinity: Arc<Affinity>,
    url: String,
    queue: mpsc::Receiver<Told>,
    /// Who says something: a node does not listen to itself.
    node: u64,
}

/// What nodes tell each other.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    node: u64,
    /// Name, since when, provider.
    kept: Vec<(String, i64, Cow<'a, str>)>,
}

impl Sharing {
    pub(super) fn new(affinity: Arc<Affinity>, url: &str, queue: mpsc::Receiver<Told>) -> Self {
        Self { affinity, url: url.to_owned(), queue, node: rand::random() }
    }

    /// Tells and listens until `stop`.
    pub(super) async fn run(self, clock: impl Fn() -> i64 + Send + Sync, stop: CancellationToken) {
        let Self { affinity, url, mut queue, node } = self;
        let heard = |message: Option<&[u8]>| hear(&affinity, node, message.unwrap_or_default(), clock());
        let listening = Box::pin(subscribe(&url, CHANNEL, "listen to where conversations are", heard));
        let telling = Box::pin(tell(&affinity, &url, &mut queue, node, &clock));
        stop.run_until_cancelled(async { tokio::join!(listening, telling) }).await;
    }
}

fn hear(affinity: &Affinity, node: u64, message: &[u8], now: i64) {
    if message.len() > MESSAGE_MAX {
        return;
    }
    let Ok(Message { node: from, kept }) = serde_json::from_slice::<Message<'_>>(message) else { return };
    if from == node {
        return;
    }
    for (thread, since, provider) in kept {
        if let Some(thread) = ThreadName::from_text(&thread) {
            affinity.memory.hear(thread, &Arc::from(&*provider), since, now);
        }
    }
}

async fn tell(
    affinity: &Affinity,
    url: &str,
    queue: &mut mpsc::Receiver<Told>,
    node: u64,
    clock: &(impl Fn() -> i64 + Sync),
) {
    let Some(elsewhere) = &affinity.elsewhere else { return };
    let mut backoff = Backoff::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let wire = match connect(affinity, url).await {
            Ok(wire) => Arc::new(wire),
            Err(error) => {
                if backoff.is_calm() {
                    tracing::warn!(%error, "cannot tell other nodes where conversations are; trying again");
                }
                sleep(backoff.next()).await;
                continue;
            }
        };
        if !std::mem::take(&mut backoff).is_calm() {
            tracing::info!("other nodes are told again where conversations are");
        }
        elsewhere.connected_at.store(clock(), Ordering::Relaxed);
        elsewhere.wire.store(Some(Arc::clone(&wire)));
        loop {
            batch.clear();
            let waiting = tokio::select! {
                count = queue.recv_many(&mut batch, BATCH) => count,
                () = elsewhere.lost.notified() => break,
            };
            if waiting == 0 {
                return;
            }
            if let Err(error) = in_time(TELLING, tell_all(&wire, &batch, node)).await {
                tracing::debug!(%error, "other nodes were not told where conversations are");
                elsewhere.wire.store(None);
                break;
            }
        }
        sleep(REST).await;
    }
}

/// Finds the way, and the secret that is used there: the first node's, or this one's if there is none.
async fn connect(affinity: &Affinity, url: &str) -> RedisResult<Wire> {
    let wire = in_time(TELLING, Wire::connect(url)).await?;
    let own = affinity.secret.load().to_text();
    let text = in_time(TELLING, wire.agree(&secret_key(), &own)).await?;
    match Secret::from_text(&text) {
        Some(secret) if secret != **affinity.secret.load() => affinity.secret.store(Arc::new(secret)),
        Some(_) => {}
        None => tracing::warn!(key = secret_key(), "this key of Redis does not hold what it should; delete it"),
    }
    Ok(wire)
}

async fn tell_all(wire: &Wire, batch: &[Told], node: u64) -> RedisResult<()> {
    let kept = batch.iter().map(|told| (told.thread.to_string(), told.since, Cow::Borrowed(&*told.provider))).collect();
    let message = serde_json::to_vec(&Message { node, kept }).unwrap_or_default();
    let lasting = batch.iter().filter(|told| told.lasts);
    wire.write(lasting.map(|told| (key(told.thread), format!("{} {}", told.since, told.provider), told.ttl))).await?;
    wire.publish(CHANNEL, &message).await
}

/// All on one server of a cluster, so that they can be written at once.
fn key(thread: ThreadName) -> String {
    format!("{{tollgate:affinity}}:{thread}")
}

fn secret_key() -> String {
    "{tollgate:affinity}:secret".to_owned()
}
