//! Clients that spend on several nodes until they are told to stop, and know how each request ended and how long it took.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::admin::Caller;
use crate::support::{Api, Gateway, client, eventually, spending};

/// A request that was answered, or lost with its node.
#[derive(Clone, Debug)]
pub struct Asked {
    pub began: Instant,
    pub took: Duration,
    /// Status and code, once the whole answer has come.
    pub end: Option<(u16, String)>,
}

impl Asked {
    pub fn passed(&self) -> bool {
        matches!(self.end, Some((200, _)))
    }
}

/// Running clients.
pub struct Traffic {
    clients: Vec<JoinHandle<Vec<Asked>>>,
    told: Arc<Told>,
}

/// What clients and test tell each other.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    answered: AtomicUsize,
    passed: AtomicUsize,
    refused: AtomicUsize,
}

/// How requests ended.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    /// By a budget.
    pub refused: usize,
    /// By a limit of counts.
    pub limited: usize,
    /// For want of an authority.
    pub unavailable: usize,
    pub lost: usize,
}

/// What a client asks for, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub model: &'static str,
    pub max_tokens: u64,
    /// Between two requests of a client.
    pub pause: Duration,
}

impl Default for Order {
    fn default() -> Self {
        Self { model: super::harness::MODEL, max_tokens: 1_000, pause: Duration::ZERO }
    }
}

impl Traffic {
    /// So many clients for each of the callers, each asking one node after the other.
    pub fn start(nodes: &[&Gateway], callers: &[Caller], clients: usize, order: Order) -> Self {
        let told = Arc::<Told>::default();
        let urls: Arc<[String]> =
            nodes.iter().map(|node| format!("{}{}", node.url(), Api::Chat.path(order.model, false))).collect();
        let clients = callers.iter().flat_map(|caller| (0..clients).map(move |_| caller.secret.clone()));
        let clients = clients
            .enumerate()
            .map(|(turn, secret)| tokio::spawn(ask(Arc::clone(&urls), secret, turn, order, Arc::clone(&told))));
        Self { clients: clients.collect(), told }
    }

    /// How many requests have passed.
    pub fn passed_so_far(&self) -> usize {
        self.told.passed.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have passed.
    pub async fn passes(&self, by: usize) {
        reaches("requests pass", &self.told.passed, by).await;
    }

    /// Waits until budgets have refused so many more.
    pub async fn is_refused(&self, by: usize) {
        reaches("requests are refused", &self.told.refused, by).await;
    }

    /// Waits until so many more have been answered, whatever the answer.
    pub async fn advances(&self, by: usize) {
        reaches("the traffic goes on", &self.told.answered, by).await;
    }

    /// Lets everybody finish.
    pub async fn stop(self) -> Vec<Asked> {
        self.told.stop.store(true, Ordering::Relaxed);
        let mut asked = Vec::new();
        for client in self.clients {
            asked.extend(client.await.unwrap());
        }
        asked.sort_by_key(|asked| asked.began);
        asked
    }
}

async fn reaches(what: &str, counter: &AtomicUsize, by: usize) {
    let goal = counter.load(Ordering::Relaxed) + by;
    eventually(what, async || (counter.load(Ordering::Relaxed) >= goal).then_some(())).await;
}

async fn ask(urls: Arc<[String]>, secret: String, mut turn: usize, order: Order, told: Arc<Told>) -> Vec<Asked> {
    let http = client();
    let body = spending::request(order.model, Some(order.max_tokens));
    let mut asked = Vec::new();
    while !told.stop.load(Ordering::Relaxed) {
        turn += 1;
        let Some(ended) = post(&http, &urls[turn % urls.len()], &secret, &body).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        told.answered.fetch_add(1, Ordering::Relaxed);
        match ended.end {
            Some((200, _)) => told.passed.fetch_add(1, Ordering::Relaxed),
            Some((402, _)) => told.refused.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        asked.push(ended);
        if !order.pause.is_zero() {
            tokio::time::sleep(order.pause).await;
        }
    }
    asked
}

/// Asks once; none when nobody has seen the request.
async fn post(http: &reqwest::Client, url: &str, secret: &str, body: &Value) -> Option<Asked> {
    let began = Instant::now();
    let end = match http.post(url).bearer_auth(secret).json(body).send().await {
        Err(error) if error.is_connect() => return None,
        Err(_) => None,
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.json::<Value>().await.ok();
            body.map(|body| (status, body["error"]["code"].as_str().unwrap_or_default().to_owned()))
        }
    };
    Some(Asked { began, took: began.elapsed(), end })
}

/// One request to a node that is there.
pub async fn once(node: &Gateway, caller: &Caller, order: Order) -> Asked {
    let url = format!("{}{}", node.url(), Api::Chat.path(order.model, false));
    let body = spending::request(order.model, Some(order.max_tokens));
    post(&client(), &url, &caller.secret, &body).await.expect("the node is there")
}

/// How many ended how; the test fails for an end that none of its requests may have.
pub fn tally<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> Tally {
    let mut tally = Tally::default();
    for asked in asked {
        let counter = match &asked.end {
            None => &mut tally.lost,
            Some((status, code)) => match (status, &**code) {
                (200, _) => &mut tally.passed,
                (402, "budget_exceeded") => &mut tally.refused,
                (429, "rate_limit_exceeded") => &mut tally.limited,
                (503, "budget_unavailable") => &mut tally.unavailable,
                _ => panic!("{status} {code}"),
            },
        };
        *counter += 1;
    }
    tally
}

impl Tally {
    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            refused: self.refused + other.refused,
            limited: self.limited + other.limited,
            unavailable: self.unavailable + other.unavailable,
            lost: self.lost + other.lost,
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, refused, limited, unavailable, lost } = self;
        write!(f, "{passed} passed, {refused} refused, {limited} limited, {unavailable} unavailable, {lost} lost")
    }
}

/// How long requests took.
#[derive(Clone, Copy)]
pub struct Times {
    count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Times {
    pub fn of<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> Self {
        let mut took: Vec<_> = asked.into_iter().map(|asked| asked.took).collect();
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len() - 1)).copied();
        assert!(!took.is_empty(), "nothing was asked");
        Self {
            count: took.len(),
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: took.last().copied().unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, max } = self;
        write!(f, "{count} took {p50:.1?} in the middle, 99 % up to {p99:.1?}, {max:.1?} at most")
    }
}
