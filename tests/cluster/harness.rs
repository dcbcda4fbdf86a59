//! Nodes that share everything but their ports and their folders.

use std::time::Duration;

use serde_json::{Value, json};

use crate::servers::faketime;
use crate::servers::postgres::Postgres;
use crate::support::admin::Caller;
use crate::support::books::{Sums, nanos};
use crate::support::capped::{Whose, limited_by};
use crate::support::gateway::{Setup, run, set};
use crate::support::{Admin, Books, Gateway, Provider, eventually, load, spending};

/// The model that is asked for, alone in the model group [`Cluster::group`].
pub const MODEL: &str = "dear-model";

/// One that is in no group.
pub const OTHER_MODEL: &str = "cheap-model";

const MODELS: [&str; 3] = [MODEL, load::MODEL, OTHER_MODEL];

/// How long a node waits for an answer of Redis, unless a test says otherwise: a busy machine is not what is tested.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Connections of a node to the database: three nodes, their successors and the tests share one server.
const CONNECTIONS: u32 = 6;

/// Nodes to be started.
pub struct Plan {
    redis: Vec<String>,
    patience: Duration,
    settings: Vec<(String, Value)>,
    budgets: Value,
    loaded: bool,
    limited: Vec<(String, Value)>,
    preferred: Vec<Value>,
    clocks: Vec<i64>,
}

/// Running nodes, and what they share but Redis, which is the test's own: it may end before them.
pub struct Cluster {
    pub nodes: Vec<Gateway>,
    pub books: Books,
    /// The model group of [`MODEL`].
    pub group: i64,
    pub provider: Provider,
    pub postgres: Postgres,
}

impl Plan {
    /// So many nodes that use the Redis at this URL, reserve the worst case, and refuse without an authority.
    pub fn new(nodes: usize, redis: &str) -> Self {
        Self::over(vec![redis.to_owned(); nodes])
    }

    /// A node for each of these ways to one Redis.
    pub fn over(redis: Vec<String>) -> Self {
        let budgets = json!({"reservation": "worst_case", "on_authority_failure": "closed"});
        let (settings, limited, preferred, clocks) = Default::default();
        Self { redis, patience: PATIENCE, settings, budgets, loaded: false, limited, preferred, clocks }
    }

    /// What the budgets of all nodes are set to: `lease.dead_after`.
    pub fn budgets(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.budgets, path, value.into());
        self
    }

    /// Nodes that take each other for dead, and what they held for gone, after five seconds.
    pub fn short_lived(self) -> Self {
        self.budgets("lease", json!({"life": "2s", "dead_after": "5s"}))
    }

    /// Nodes that wait for an answer of Redis for so long.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A setting of all nodes.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.settings.push((path.to_owned(), value.into()));
        self
    }

    /// Nodes whose wall clocks are ahead by so many milliseconds.
    pub fn clocks(mut self, ahead_by: &[i64]) -> Self {
        self.clocks = ahead_by.to_vec();
        self
    }

    /// With the answers of [`load`].
    pub fn loaded(mut self) -> Self {
        self.loaded = true;
        self
    }

    /// With a provider of these limits alone for each of these models, which is called like its model.
    pub fn limited(mut self, models: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.limited.extend(models);
        self
    }

    /// With this provider, which is asked for every model before the others.
    pub fn preferred(mut self, mut entry: Value) -> Self {
        entry["priority"] = json!(0);
        self.preferred.push(entry);
        self
    }

    fn providers(&self, provider: &Provider) -> Vec<Value> {
        let entry = |name: &str, models: &[&str]| {
            let mut entry = provider.entry(name, &["openai_chat"]);
            entry["models"] = json!(models);
            entry["priority"] = json!(1);
            entry
        };
        let limited = self.limited.iter().map(|(model, limits)| {
            let mut entry = entry(model, &[model.as_str()]);
            entry["limits"] = limits.clone();
            entry
        });
        let all = std::iter::once(entry("upstream", &MODELS)).chain(limited);
        self.preferred.iter().cloned().chain(all).collect()
    }

    /// What node number `n` is to be started with.
    pub fn setup(&self, n: usize, postgres: &Postgres, provider: &Provider) -> Setup {
        let setup = Setup::new(self.providers(provider))
            .set("database", json!({"url": postgres.url("postgres"), "max_connections": CONNECTIONS}))
            .set("redis", json!({"url": self.redis[n], "timeout": format!("{}ms", self.patience.as_millis())}))
            .set("node.name", format!("node {n}"))
            .set("budgets", self.budgets.clone());
        let setup = match self.clocks.get(n) {
            Some(&ms) => setup.environment(faketime::ahead_by(ms)),
            None => setup,
        };
        self.settings.iter().fold(setup, |setup, (path, value)| setup.set(path, value.clone()))
    }

    /// Starts them, all at once.
    pub async fn start(self) -> Cluster {
        let (postgres, provider) = (Postgres::start(), Provider::start().await);
        if self.loaded {
            provider.decide(load::answer);
        } else {
            provider.decide(|request| spending::answer(request).after(Duration::from_millis(30)));
        }
        // The others find prices and groups when they start.
        let mut nodes = vec![self.setup(0, &postgres, &provider).spawn()];
        nodes[0].ready().await;
        let admin = nodes[0].admin();
        for model in MODELS.into_iter().chain(self.limited.iter().map(|(model, _)| model.as_str())) {
            admin.put(&format!("/prices/{model}"), &spending::price()).await;
        }
        let group = admin.model_group("dear", &[MODEL]).await;
        nodes.extend((1..self.redis.len()).map(|n| self.setup(n, &postgres, &provider).spawn()));
        for node in &mut nodes {
            node.ready().await;
        }
        let books = Books::of(&nodes[0]).await;
        Cluster { nodes, books, group, provider, postgres }
    }
}

impl Cluster {
    /// The first node's.
    pub fn admin(&self) -> &Admin {
        self.nodes[0].admin()
    }

    pub fn all(&self) -> Vec<&Gateway> {
        self.nodes.iter().collect()
    }

    /// All but one.
    pub fn but(&self, not: usize) -> Vec<&Gateway> {
        self.nodes.iter().enumerate().filter(|(n, _)| *n != not).map(|(_, node)| node).collect()
    }

    /// Somebody new who may spend so much in one window, as every node knows.
    pub async fn limited(&self, whose: Whose, window: &str, usd: f64) -> Caller {
        self.limited_by(whose, json!({window: {"usd": usd}})).await
    }

    /// Somebody new with these limits, as every node knows.
    pub async fn limited_by(&self, whose: Whose, limits: Value) -> Caller {
        let caller = limited_by(self.admin(), whose, limits, self.group).await;
        self.agree(&self.all(), axis(whose, &caller)).await;
        caller
    }

    /// Waits until these nodes tell the same caps, those of the first node among them.
    pub async fn agree(&self, nodes: &[&Gateway], (axis, owner): (&str, i64)) {
        let path = format!("/budgets/{axis}/{owner}");
        eventually("the nodes agree about the caps", async || {
            let mut caps = Vec::new();
            for node in nodes {
                let (status, budgets) = node.admin().call(reqwest::Method::GET, &path, None).await;
                if status != 200 {
                    return None;
                }
                caps.push(caps_of(&budgets));
            }
            (caps.windows(2).all(|pair| pair[0] == pair[1]) && !caps[0].is_empty()).then_some(())
        })
        .await;
    }

    /// What each node counts in the only window of a provider: used, and set aside, in nano-dollars.
    pub async fn counted_of(&self, provider: &str) -> Vec<(i64, i64)> {
        let mut counted = Vec::new();
        for node in &self.nodes {
            let budgets = node.admin().get(&format!("/budgets/provider/{provider}")).await;
            let window = &budgets["items"][0]["windows"][0];
            counted.push((nanos(&window["usedUsd"]), nanos(&window["reservedUsd"])));
        }
        counted
    }

    /// Waits until no node is in doubt about this caller's budgets; how many of the requests that were made passed. One alone
    /// on each node would say little: it may be paid from what the node holds.
    pub async fn knows_what_is_left(&self, caller: &Caller, model: &str) -> usize {
        let mut passed = 0;
        eventually("nobody is in doubt about what is left", async || {
            let replies =
                self.nodes.iter().cycle().take(8 * self.nodes.len()).map(|node| node.spend(caller, model, 50));
            let replies = futures::future::join_all(replies).await;
            let statuses: Vec<_> = replies.iter().map(|reply| reply.head.status).collect();
            passed += statuses.iter().filter(|status| **status == 200).count();
            (!statuses.contains(&503)).then_some(())
        })
        .await;
        passed
    }

    /// Waits until on every node nothing is in flight or set aside, and this caller's budgets have used what his rows add
    /// up to.
    pub async fn balance(&self, caller: &Caller) -> Sums {
        self.balance_on(&self.all(), caller).await
    }

    /// The same, as these nodes see it.
    pub async fn balance_on(&self, nodes: &[&Gateway], caller: &Caller) -> Sums {
        let mut sums = Sums::default();
        for node in nodes {
            sums = self.books.balance(node, caller).await;
        }
        sums
    }

    /// A metric, added up over all nodes.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(name).await;
        }
        sum
    }

    /// Has the program itself look for sums that are not those of their rows, and for budgets that are not counted as the
    /// ledger says.
    pub fn audit(&self) {
        let node = &self.nodes[0];
        let file = node.folder().join("tollgate.yaml");
        let said = run(&["audit", "-c", file.to_str().unwrap()], &[], node.folder());
        let words = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{words}{}", String::from_utf8_lossy(&said.stderr));
    }

    /// What the ledger's own sum says that a user has spent, in nano-dollars.
    pub async fn summed(&self, caller: &Caller) -> i64 {
        let summary = self.admin().get(&format!("/usage/summary?userId={}", caller.user_id)).await;
        nanos(&summary["totalUsd"])
    }
}

/// Waits until a node takes this caller's key, without a question about his budgets: it has no such model.
pub async fn knows(node: &Gateway, caller: &Caller) {
    eventually("the node knows the key", async || {
        (node.spend(caller, "no-such-model", 1).await.head.status != 401).then_some(())
    })
    .await;
}

/// The axis whose budget pays, and its owner.
pub fn axis(whose: Whose, caller: &Caller) -> (&'static str, i64) {
    match whose {
        Whose::Key | Whose::KeyForGroup => ("key", caller.key_id),
        _ => ("user", caller.user_id),
    }
}

/// Scope, window and cap of every window.
fn caps_of(budgets: &Value) -> Vec<Value> {
    let items = budgets["items"].as_array().unwrap();
    let windows = items.iter().flat_map(|item| {
        let windows = item["windows"].as_array().unwrap();
        windows.iter().map(|window| json!([item["scope"], window["window"], window["limitUsd"]]))
    });
    windows.collect()
}
