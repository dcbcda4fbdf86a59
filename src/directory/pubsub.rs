//! Tells the other nodes what has changed, and listens to what they tell, through Redis.
//!
//! Nothing waits for Redis and nothing fails without it. A message may be lost whenever the connection is, so after
//! every connection the listening side takes everything for changed, and the telling side says that everything has.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::limit::Axis;
use crate::subscribe::{in_time, one_server, subscribe};

const CHANNEL: &str = "tollgate:invalidate";

/// Changes that wait to be told. When there are more, they are told as one: everything.
const QUEUE: usize = 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A longer message is not one of ours.
const MESSAGE_MAX: usize = 1024;

/// Something that other nodes may remember has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A user, by id.
    User(i64),
    /// A key.
    Key {
        /// Its id.
        id: i64,
        /// The hash of its secret, in hexadecimal: it may be remembered as unknown.
        hash: String,
    },
    /// What a user or key has spent was reset: what is on its way is charged in this era.
    Reset {
        /// Which of the two.
        axis: Axis,
        /// Its id.
        owner: i64,
        /// The era.
        era: i64,
    },
    /// The circuits of a provider were closed by hand.
    ResetCircuit {
        /// Its name.
        provider: String,
        /// When, Unix milliseconds; 0: an older version does not say.
        #[serde(default)]
        at: i64,
    },
    /// The circuit of a provider was opened by hand.
    OpenCircuit {
        /// Its name.
        provider: String,
        /// Until when, Unix milliseconds; none: until it is reset.
        until: Option<i64>,
        /// As above.
        #[serde(default)]
        at: i64,
    },
    /// The price book.
    Prices,
    /// Model groups, user groups, their limits or boosts.
    Limits,
    /// More than can be said.
    All,
}

impl Change {
    /// What a newer version says and this one does not understand is taken for everything.
    fn from_message(message: &[u8]) -> Self {
        if message.len() > MESSAGE_MAX {
            return Self::All;
        }
        serde_json::from_slice(message).unwrap_or(Self::All)
    }
}

/// The URL of Redis makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the Redis URL cannot be used: {0}; write redis://HOST:PORT or rediss://HOST:PORT")]
pub struct PubSubError(RedisError);

/// Both directions, to be run.
pub struct PubSub {
    client: Client,
    url: String,
    queue: mpsc::Receiver<Change>,
    overflow: Arc<tokio::sync::Notify>,
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL holds a password.
        f.debug_struct("PubSub").finish_non_exhaustive()
    }
}

/// Where changes are announced. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Announcer {
    queue: mpsc::Sender<Change>,
    overflow: Arc<tokio::sync::Notify>,
}

impl Announcer {
    /// Tells the other nodes, as soon as Redis takes it. Never waits, never fails.
    pub fn announce(&self, change: Change) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(change) {
            self.overflow.notify_one();
        }
    }
}

impl PubSub {
    /// For the Redis at this URL. Does not connect yet.
    ///
    /// # Errors
    ///
    /// [`PubSubError`].
    pub fn new(url: &str) -> Result<(Self, Announcer), PubSubError> {
        let url = one_server(url);
        let client = Client::open(url.as_str()).map_err(PubSubError)?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let overflow = Arc::new(tokio::sync::Notify::new());
        let announcer = Announcer { queue: sender, overflow: Arc::clone(&overflow) };
        Ok((Self { client, url, queue, overflow }, announcer))
    }

    /// Tells and listens until `stop`. `changed` is called for each change that is heard, this node's own included.
    pub async fn run(self, stop: CancellationToken, changed: impl Fn(Change) + Send + Sync) {
        let Self { client, url, queue, overflow } = self;
        let heard = |message: Option<&[u8]>| changed(message.map_or(Change::All, Change::from_message));
        let listening = Box::pin(subscribe(&url, CHANNEL, "listen to changes on other nodes", heard));
        let telling = Box::pin(tell(&client, queue, &overflow));
        stop.run_until_cancelled(async { tokio::join!(listening, telling) }).await;
    }
}

async fn tell(client: &Client, mut queue: mpsc::Receiver<Change>, overflow: &tokio::sync::Notify) {
    let mut retry = Retry::default();
    let mut connection: Option<MultiplexedConnection> = None;
    let mut lost = false;
    loop {
        if !lost {
            let change = tokio::select! {
                change = queue.recv() => change,
                () = overflow.notified() => Some(Change::All),
            };
            let Some(change) = change else { return };
            match publish(client, &mut connection, &change).await {
                Ok(()) => continue,
                Err(error) => retry.wait("tell other nodes of a change", &error.to_string()).await,
            }
        }
        // The others may not have heard. What has been queued meanwhile is part of "everything".
        lost = true;
        while queue.try_recv().is_ok() {}
        match publish(client, &mut connection, &Change::All).await {
            Ok(()) => {
                lost = false;
                retry.reset();
            }
            Err(error) => retry.wait("tell other nodes of a change", &error.to_string()).await,
        }
    }
}

async fn publish(client: &Client, connection: &mut Option<MultiplexedConnection>, change: &Change) -> RedisResult<()> {
    let message = serde_json::to_vec(change).unwrap_or_else(|_| b"\"all\"".to_vec());
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(ANSWER_TIMEOUT));
            in_time(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await?
        }
    };
    in_time(ANSWER_TIMEOUT, redis::cmd("PUBLISH").arg(CHANNEL).arg(message).query_async::<()>(&mut open)).await?;
    // After an error the connection is dropped: it cannot tell whether it is still of use.
    *connection = Some(open);
    Ok(())
}

/// Waits longer and longer, and says only once that something is wrong.
#[derive(Debug, Default)]
struct Retry {
    backoff: Backoff,
}

impl Retry {
    fn reset(&mut self) {
        if !std::mem::take(&mut self.backoff).is_calm() {
            tracing::info!("Redis is back");
        }
    }

    async fn wait(&mut self, what: &str, error: &str) {
        if self.backoff.is_calm() {
            tracing::warn!(error, "cannot {what}; trying again");
        }
        sleep(self.backoff.next()).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn changes_are_json_that_other_versions_can_read() {
        let hash = "ab".repeat(32);
        for (change, text) in [
            (Change::User(5), r#"{"user":5}"#.to_owned()),
            (Change::Key { id: 5, hash: hash.clone() }, format!(r#"{{"key":{{"id":5,"hash":"{hash}"}}}}"#)),
            (
                Change::Reset { axis: Axis::Key, owner: 5, era: 2 },
                r#"{"reset":{"axis":"key","owner":5,"era":2}}"#.to_owned(),
            ),
            (Change::Prices, r#""prices""#.to_owned()),
            (Change::Limits, r#""limits""#.to_owned()),
            (Change::All, r#""all""#.to_owned()),
        ] {
            assert_eq!(serde_json::to_string(&change).unwrap(), text);
            assert_eq!(Change::from_message(text.as_bytes()), change);
        }
    }

    #[test]
    fn what_cannot_be_read_is_taken_for_everything() {
        let long = format!(r#"{{"key":{{"id":5,"hash":"{}"}}}}"#, "a".repeat(10 << 20));
        for message in ["", "nonsense", r#"{"group":5}"#, r#"{"user":"5"}"#, r#"{"user":1e99}"#, &long, "\u{0}"] {
            assert_eq!(Change::from_message(message.as_bytes()), Change::All);
        }
    }

    #[test]
    fn a_url_that_makes_no_sense_is_refused_without_its_password() {
        for url in ["", "http://me:hunter2@host", "redis://me:hunter2@host:99999999"] {
            let error = PubSub::new(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert!(PubSub::new("redis+cluster://127.0.0.1:7000").is_ok());
    }
}
