//! The way from a node to its Redis: it counts, and it can lose, delay, repeat, hang and break.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::faults::{Fate, Faults};
use super::{answers, commands};

/// A way to one Redis at a time; its connections end with it.
pub struct Proxy {
    way: Arc<Way>,
    port: u16,
    accepting: JoinHandle<()>,
}

/// What went this way so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By their first word.
    pub commands: HashMap<String, u64>,
    pub bytes_there: u64,
    pub bytes_back: u64,
    /// Commands that something went wrong with.
    pub faults: u64,
}

pub(super) struct Way {
    /// Its port.
    redis: AtomicU16,
    /// Whoever is not answered within this time has given up, and some more.
    pub given_up: Duration,
    faults: Mutex<(Faults, StdRng)>,
    pub figures: Mutex<Figures>,
    /// Nothing comes back as long as this holds.
    pub hangs: watch::Sender<bool>,
    /// Connections older than this number are over.
    cuts: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

impl Figures {
    /// All commands.
    pub fn all(&self) -> u64 {
        self.commands.values().sum()
    }

    /// Scripts that were run.
    pub fn scripts(&self) -> u64 {
        self.commands.iter().filter(|(name, _)| name.starts_with("EVAL")).map(|(_, count)| count).sum()
    }

    /// What was added since then.
    pub fn since(&self, before: &Self) -> Self {
        let of = |name: &String| before.commands.get(name).copied().unwrap_or_default();
        Self {
            commands: self.commands.iter().map(|(name, count)| (name.clone(), count - of(name))).collect(),
            bytes_there: self.bytes_there - before.bytes_there,
            bytes_back: self.bytes_back - before.bytes_back,
            faults: self.faults - before.faults,
        }
    }

    /// Both.
    pub fn and(mut self, other: &Self) -> Self {
        for (name, count) in &other.commands {
            *self.commands.entry(name.clone()).or_default() += count;
        }
        self.bytes_there += other.bytes_there;
        self.bytes_back += other.bytes_back;
        self.faults += other.faults;
        self
    }
}

impl Proxy {
    /// A good way to the Redis at this port. `patience` is how long a node waits for an answer.
    pub async fn to(redis: u16, patience: Duration, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            redis: AtomicU16::new(redis),
            given_up: patience + patience / 2,
            faults: Mutex::new((Faults::default(), StdRng::seed_from_u64(seed))),
            figures: Mutex::default(),
            hangs: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&way)));
        Self { way, port, accepting }
    }

    /// The URL for a node.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What goes wrong from now on.
    pub fn faults(&self, faults: Faults) {
        self.way.faults.lock().0 = faults;
    }

    /// Whether answers are held back from now on; what is asked is done all the same.
    pub fn hang(&self, hang: bool) {
        self.way.hangs.send_replace(hang);
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        self.way.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Leads to the Redis at this port from now on.
    pub fn lead_to(&self, redis: u16) {
        self.way.redis.store(redis, Ordering::Release);
        self.cut();
    }

    /// Whether connections are broken and refused from now on.
    pub fn close(&self, closed: bool) {
        self.way.closed.send_replace(closed);
        self.cut();
    }

    pub fn figures(&self) -> Figures {
        self.way.figures.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Way {
    pub fn redis(&self) -> u16 {
        self.redis.load(Ordering::Acquire)
    }

    /// What becomes of this command.
    pub fn fate(&self, words: &[&[u8]], bytes: usize) -> Fate {
        let name = words.first().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).unwrap_or_default();
        // Only scripts: a connection that fails to say hello tells nothing about budgets.
        let script = name.starts_with("EVAL") || name == "FCALL";
        let fate = if script {
            let (faults, random) = &mut *self.faults.lock();
            faults.decide(random)
        } else {
            Fate::Good
        };
        let mut figures = self.figures.lock();
        *figures.commands.entry(name).or_default() += 1;
        figures.bytes_there += bytes as u64;
        figures.faults += u64::from(fate != Fate::Good);
        fate
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if !*way.closed.borrow() {
            connections.spawn(pass(client, Arc::clone(&way)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(client: TcpStream, way: Arc<Way>) {
    let Ok(redis) = TcpStream::connect(("127.0.0.1", way.redis())).await else { return };
    for stream in [&client, &redis] {
        stream.set_nodelay(true).unwrap();
    }
    let mut cuts = way.cuts.subscribe();
    let ((from_client, to_client), (from_redis, to_redis)) = (client.into_split(), redis.into_split());
    let order = answers::Order::default();
    tokio::select! {
        () = commands::pass(from_client, to_redis, &order, &way) => {}
        () = answers::pass(from_redis, to_client, &order, &way) => {}
        _ = cuts.changed() => {}
    }
}
