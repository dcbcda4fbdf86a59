//! The way to Redis: one server or a cluster, a time limit on every command, and not asking where nobody answers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ErrorKind, ServerErrorKind, Value};
use tokio::sync::{Mutex, Notify};

use super::partition::{PARTITIONS, Partition};
use super::script::Script;
use super::{RedisError, wire};

/// A connection that was lost is made again after so long, and longer from try to try.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// So many time-outs in a row and nobody answers.
const LATES: u32 = 2;

/// Whoever usually answers so many times sooner than is waited for may be asked with less patience.
const SOONER: u32 = 8;

/// A server that says so will soon be able to answer.
const SOON: Duration = Duration::from_millis(5);

/// How long the nodes of a cluster may take to be found.
const DISCOVERY: Duration = Duration::from_secs(2);

/// How long a command takes before one was measured, in microseconds.
const ROUND_TRIP: i64 = 1_000;

/// The way to Redis.
pub struct Link {
    server: Server,
    timeout: Duration,
    /// Of a cluster one per partition, for each may be on a server of its own.
    breakers: Vec<Breaker>,
    /// A breaker has opened.
    pub tripped: Notify,
    /// How long a command takes, microseconds.
    round_trip: AtomicI64,
    made: Instant,
}

enum Server {
    One(ConnectionManager),
    /// Asks its nodes for the others when it is made, so that is done when it is first used.
    Many(Box<Many>),
}

struct Many {
    client: ClusterClient,
    open: Mutex<Option<ClusterConnection>>,
}

/// Whether somebody answers.
#[derive(Debug, Default)]
struct Breaker {
    lates: AtomicU32,
    /// When the last time-out that counted was over, microseconds since the link was made: those of commands that were sent
    /// before tell the same.
    late_at: AtomicI64,
    open: AtomicBool,
}

/// An answer, with how long it took.
pub struct Answered {
    pub value: Value,
    pub took: Duration,
}

impl Link {
    /// Does not connect yet.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, RedisError> {
        let wrong = |error: redis::RedisError| RedisError::Url(error.to_string());
        let (server, breakers) = match url.split_once("+cluster://") {
            Some((scheme, rest)) => {
                let client = ClusterClient::builder([format!("{scheme}://{rest}")])
                    .connection_timeout(timeout)
                    .response_timeout(timeout)
                    .retries(1)
                    .build();
                (Server::Many(Box::new(Many { client: client.map_err(wrong)?, open: Mutex::default() })), PARTITIONS)
            }
            None => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout))
                    .set_number_of_retries(1)
                    .set_min_delay(AGAIN.0)
                    .set_max_delay(AGAIN.1);
                let client = Client::open(url).map_err(wrong)?;
                (Server::One(ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?), 1)
            }
        };
        let breakers = (0..breakers).map(|_| Breaker::default()).collect();
        Ok(Self {
            server,
            timeout,
            breakers,
            tripped: Notify::new(),
            round_trip: AtomicI64::new(ROUND_TRIP),
            made: Instant::now(),
        })
    }

    /// Whether nobody answers there.
    pub fn is_away(&self, partition: Partition) -> bool {
        self.breaker(partition).open.load(Ordering::Relaxed)
    }

    /// One partition of each server that does not answer.
    pub fn away(&self) -> Vec<Partition> {
        let open = |(_, breaker): &(usize, &Breaker)| breaker.open.load(Ordering::Relaxed);
        self.breakers.iter().enumerate().filter(open).map(|(at, _)| Partition::at(at)).collect()
    }

    /// How long a command takes.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.round_trip.load(Ordering::Relaxed)).unwrap_or_default())
    }

    /// Runs a script on one key, unless nobody answers there.
    pub async fn run(
        &self,
        script: &Script,
        partition: Partition,
        key: &str,
        arguments: &wire::Arguments,
    ) -> Result<Answered, RedisError> {
        self.check(partition)?;
        let began = Instant::now();
        match self.ask(partition, &script.call(key, arguments), self.patience(partition)).await {
            // Forgotten since it was started or flushed: it is sent whole, and remembered.
            Err(Failure::NoScript) => self.command(partition, &script.whole(key, arguments)).await,
            answered => answered.map_err(|failure| self.failed(partition, began, failure)),
        }
    }

    /// Runs a command, unless nobody answers there.
    pub async fn command(&self, partition: Partition, command: &Cmd) -> Result<Answered, RedisError> {
        self.check(partition)?;
        let began = Instant::now();
        let answered = self.ask(partition, command, self.patience(partition)).await;
        answered.map_err(|failure| self.failed(partition, began, failure))
    }

    /// How long a command may take. After one that was late half the time will do to learn whether anybody is there: a
    /// request that meets the silence waits for both.
    fn patience(&self, partition: Partition) -> Duration {
        if self.breaker(partition).lates.load(Ordering::Relaxed) == 0 {
            return self.timeout;
        }
        (self.timeout / 2).max(self.round_trip() * SOONER).min(self.timeout)
    }

    fn check(&self, partition: Partition) -> Result<(), RedisError> {
        if self.is_away(partition) {
            return Err(RedisError::Away("it did not answer a moment ago".to_owned()));
        }
        Ok(())
    }

    async fn ask(&self, partition: Partition, command: &Cmd, patience: Duration) -> Result<Answered, Failure> {
        let began = Instant::now();
        let answered = tokio::time::timeout(patience, async {
            loop {
                match self.send(command).await.map_err(|error| Failure::of(&error)) {
                    Err(Failure::Soon) => tokio::time::sleep(SOON).await,
                    answered => return answered,
                }
            }
        });
        let value = answered.await.unwrap_or(Err(Failure::Late))?;
        let took = began.elapsed();
        let breaker = self.breaker(partition);
        if breaker.lates.load(Ordering::Relaxed) > 0 {
            breaker.lates.store(0, Ordering::Relaxed);
        }
        let (old, new) = (self.round_trip.load(Ordering::Relaxed), i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        self.round_trip.store(old + (new - old) / 8, Ordering::Relaxed);
        Ok(Answered { value, took })
    }

    async fn send(&self, command: &Cmd) -> redis::RedisResult<Value> {
        match &self.server {
            Server::One(connection) => connection.clone().req_packed_command(command).await?.extract_error(),
            Server::Many(many) => {
                let Many { client, open } = many.as_ref();
                let connection = match &mut *open.lock().await {
                    Some(connection) => connection.clone(),
                    none => none.insert(client.get_async_connection().await?).clone(),
                };
                { connection }.req_packed_command(command).await?.extract_error()
            }
        }
    }

    /// Asks whether somebody answers there again.
    pub async fn probe(&self, partition: Partition) -> Result<(), RedisError> {
        if let Server::Many(many) = &self.server {
            let Many { client, open } = many.as_ref();
            // The servers may have other addresses by now.
            let found = tokio::time::timeout(DISCOVERY, client.get_async_connection()).await;
            match found {
                Ok(Ok(connection)) => *open.lock().await = Some(connection),
                Ok(Err(error)) => return Err(RedisError::Away(error.to_string())),
                Err(_) => return Err(RedisError::Late),
            }
        }
        let exists = redis::cmd("EXISTS").arg(partition.birth_key()).to_owned();
        self.ask(partition, &exists, self.timeout).await.map_err(Failure::into_error)?;
        self.check_eviction().await?;
        self.breaker(partition).lates.store(0, Ordering::Relaxed);
        self.breaker(partition).open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// A server that may throw budgets away when its memory is full cannot be used.
    pub async fn check_eviction(&self) -> Result<(), RedisError> {
        let command = redis::cmd("INFO").arg("memory").to_owned();
        let info = self.send(&command);
        let info = tokio::time::timeout(self.timeout.max(DISCOVERY), info).await.map_err(|_| RedisError::Late)?;
        let info = info.map_err(|error| Failure::of(&error).into_error())?;
        match policies(&info).into_iter().find(|policy| policy != "noeviction") {
            Some(policy) => Err(RedisError::Evicts(policy)),
            None => Ok(()),
        }
    }

    fn failed(&self, partition: Partition, began: Instant, failure: Failure) -> RedisError {
        let breaker = self.breaker(partition);
        let opens = match &failure {
            Failure::Late | Failure::Soon => self.is_late_again(breaker, began),
            Failure::Away(_) | Failure::NoScript => true,
            Failure::Refused(_) | Failure::Garbled(_) => false,
        };
        if opens && !breaker.open.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %failure.why(), "Redis is away; budgets go by what this node holds and knows");
            self.tripped.notify_one();
        }
        failure.into_error()
    }

    /// Whether a command was late that was sent after another one had been.
    fn is_late_again(&self, breaker: &Breaker, began: Instant) -> bool {
        let since = |at: Instant| i64::try_from((at - self.made).as_micros()).unwrap_or(i64::MAX);
        let last = breaker.late_at.load(Ordering::Relaxed);
        if breaker.lates.load(Ordering::Relaxed) > 0 && since(began) < last {
            return false;
        }
        breaker.late_at.store(since(Instant::now()), Ordering::Relaxed);
        breaker.lates.fetch_add(1, Ordering::Relaxed) + 1 >= LATES
    }

    fn breaker(&self, partition: Partition) -> &Breaker {
        &self.breakers[partition.index() % self.breakers.len()]
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    NoScript,
    /// To be asked again in a moment.
    Soon,
    Late,
    /// Nobody there, or nobody who can answer.
    Away(String),
    /// Somebody answers, with an error.
    Refused(String),
    /// What is kept under the key is not what the script expects.
    Garbled(String),
}

impl Failure {
    fn of(error: &redis::RedisError) -> Self {
        match error.kind() {
            _ if is_about_what_is_kept(error) => Self::Garbled(error.to_string()),
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::NoScript => Self::NoScript,
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask => Self::Soon,
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly => {
                    Self::Away(error.to_string())
                }
                _ => Self::Refused(error.to_string()),
            },
            _ if error.is_timeout() => Self::Late,
            _ => Self::Away(error.to_string()),
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::NoScript => "it forgets scripts",
            Self::Soon | Self::Late => "no answer in time",
            Self::Away(why) | Self::Refused(why) | Self::Garbled(why) => why,
        }
    }

    fn into_error(self) -> RedisError {
        match self {
            Self::Soon | Self::Late => RedisError::Late,
            Self::NoScript => RedisError::Away(self.why().to_owned()),
            Self::Away(why) | Self::Refused(why) => RedisError::Away(why),
            Self::Garbled(why) => RedisError::Unreadable(why),
        }
    }
}

/// Whether a key is of another type than ours, or a script has stumbled over what it holds.
fn is_about_what_is_kept(error: &redis::RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
        || (error.code() == Some("ERR") && error.detail().is_some_and(|detail| detail.contains("user_script")))
}

/// What servers do when their memory is full; a cluster answers with one text per server.
fn policies(info: &Value) -> Vec<String> {
    match info {
        Value::BulkString(text) => {
            let text = String::from_utf8_lossy(text);
            let policy = text.lines().filter_map(|line| line.strip_prefix("maxmemory_policy:"));
            policy.map(|policy| policy.trim().to_owned()).collect()
        }
        Value::VerbatimString { text, .. } => policies(&Value::BulkString(text.clone().into_bytes())),
        Value::Map(of_servers) => of_servers.iter().flat_map(|(_, info)| policies(info)).collect(),
        Value::Array(infos) => infos.iter().flat_map(policies).collect(),
        _ => Vec::new(),
    }
}
