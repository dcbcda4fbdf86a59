//! A gateway and three providers, of which one may fall ill.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::admin::Caller;
use crate::support::certs::Authority;
use crate::support::gateway::Setup;
use crate::support::leaving::DIALECTS;
use crate::support::ports::Port;
use crate::support::provider::entry;
use crate::support::{Gateway, Provider, eventually};

use super::crowd::crowd;
use super::ill::Ill;
use super::till::Till;

pub const NAMES: [&str; 3] = ["one", "two", "safe"];

/// The one that is asked over TLS.
const OVER_TLS: usize = 2;

/// Budgets that never refuse, and have to be right all the same.
const ROOM: f64 = 1_000_000.0;

/// See the module.
pub struct World {
    pub gateway: Gateway,
    pub callers: Vec<Caller>,
    pub till: Till,
    ports: [Port; 3],
    providers: [Option<Provider>; 3],
    ills: Arc<Mutex<[Option<Ill>; 3]>>,
    authority: Authority,
    entries: Vec<Value>,
    /// The authority's certificate is in it.
    _folder: TempDir,
}

/// What became of a provider's circuit.
#[derive(Debug)]
pub struct CircuitSeen {
    pub openings: usize,
}

impl World {
    pub async fn start() -> Self {
        let (authority, ports) = (Authority::new(), [Port::take(), Port::take(), Port::take()]);
        let folder = tempfile::tempdir().unwrap();
        let entries: Vec<_> = (0..NAMES.len()).map(|who| entry_of(who, &ports, &authority, folder.path())).collect();
        let setup = Setup::new(entries.clone());
        let mut world = Self {
            gateway: setup.start().await,
            callers: Vec::new(),
            till: Till::default(),
            ports,
            providers: [None, None, None],
            ills: Arc::default(),
            authority,
            entries,
            _folder: folder,
        };
        for _ in 0..4 {
            let limits = || json!({"limits": {"total": {"usd": ROOM}, "daily": {"usd": ROOM}}});
            world.callers.push(world.gateway.admin().caller(limits(), limits()).await);
        }
        for who in 0..NAMES.len() {
            world.comes_up(who, None).await;
        }
        world
    }

    /// One of them falls ill; which one.
    pub async fn fall_ill(&mut self, ill: Option<Ill>, turn: usize) -> usize {
        let who = if ill == Some(Ill::HasAStrangersCertificate) { OVER_TLS } else { turn % NAMES.len() };
        match ill {
            Some(Ill::RefusesConnections) => self.goes_down(who).await,
            Some(Ill::HasAStrangersCertificate) => {
                self.goes_down(who).await;
                self.comes_up(who, Some(&Authority::new())).await;
            }
            Some(Ill::IsGoneFromTheDns) => self.moves(who, "http://nowhere.invalid:1").await,
            _ => self.ills.lock()[who] = ill,
        }
        who
    }

    /// It is well again, and its circuit is closed.
    pub async fn recovers(&mut self, who: usize) {
        self.ills.lock()[who] = None;
        self.goes_down(who).await;
        self.comes_up(who, None).await;
        let url = self.entries[who]["base_url"].as_str().unwrap().to_owned();
        if self.gateway.config()["providers"][who]["base_url"] != *url {
            self.moves(who, &url).await;
        }
        for name in NAMES {
            self.gateway.admin().ok(Method::POST, &format!("/providers/{name}:resetCircuit"), Some(&json!({}))).await;
        }
    }

    /// How many attempts at it have ended how.
    pub async fn told(&self, who: usize) -> BTreeMap<String, u64> {
        let series = self.gateway.series("attempts_total{").await;
        let of_it = series.into_iter().filter(|(labels, _)| labels.contains(&format!("provider=\"{}\"", NAMES[who])));
        let outcome = |labels: &str| labels.split("outcome=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        of_it.map(|(labels, count)| (outcome(&labels), count as u64)).collect()
    }

    /// The same, since it was asked before.
    pub async fn told_since(&self, who: usize, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let mut told = self.told(who).await;
        told.iter_mut().for_each(|(outcome, count)| *count -= before.get(outcome).unwrap_or(&0));
        told.retain(|_, count| *count > 0);
        told
    }

    /// What became of their circuits since they were reset.
    pub async fn circuits(&self) -> Vec<CircuitSeen> {
        let shown = self.gateway.admin().get("/providers").await;
        let of = |name: &&str| {
            let items = shown["items"].as_array().unwrap();
            let provider = items.iter().find(|item| item["name"] == **name).unwrap();
            let history = provider["circuit"]["history"].as_array().unwrap();
            let lately = history.iter().take_while(|change| change["reason"] != "by_hand");
            CircuitSeen { openings: lately.filter(|change| change["state"] == "open").count() }
        };
        NAMES.iter().map(of).collect()
    }

    /// All are ill: everybody is told so, and nothing is charged.
    pub async fn nobody_is_left(&self, callers: &[Caller]) {
        *self.ills.lock() = [Some(Ill::Answers500), Some(Ill::Resets), Some(Ill::Answers529)];
        let cost = self.gateway.metric("cost_usd_total").await;
        let answers = crowd(self.gateway.address(), callers, 0..60, 20).await;
        for answer in &answers {
            let error = serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["error"].is_object());
            assert!(matches!(answer.status, 500 | 503 | 529) && error, "{answer:?}");
        }
        self.gateway.metric_is("in_flight", 0.0).await;
        assert!((self.gateway.metric("cost_usd_total").await - cost).abs() < f64::EPSILON, "nothing is charged");
        println!("nobody is left: {} requests, all told so", answers.len());
    }

    /// No provider is there any more.
    pub fn everybody_leaves(&mut self) {
        self.providers = [None, None, None];
    }

    async fn comes_up(&mut self, who: usize, stranger: Option<&Authority>) {
        let authority = (who == OVER_TLS).then(|| stranger.unwrap_or(&self.authority));
        let provider = Provider::start_at(&self.ports[who], authority).await;
        let (till, ills) = (self.till.clone(), Arc::clone(&self.ills));
        provider.decide(move |request| {
            let ill = ills.lock()[who];
            till.answer(request, who, ill)
        });
        self.providers[who] = Some(provider);
    }

    async fn goes_down(&mut self, who: usize) {
        self.providers[who] = None;
        let address = self.ports[who].address();
        eventually("it is down", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    }

    /// The configuration says another address.
    async fn moves(&mut self, who: usize, url: &str) {
        let before = self.gateway.metric("config_reload_timestamp").await;
        self.gateway.rewrite(&format!("providers.{who}.base_url"), url);
        self.gateway.signal("HUP");
        eventually("the reload", async || {
            (self.gateway.metric("config_reload_timestamp").await > before).then_some(())
        })
        .await;
    }
}

fn entry_of(who: usize, ports: &[Port; 3], authority: &Authority, folder: &std::path::Path) -> Value {
    let scheme = if who == OVER_TLS { "https" } else { "http" };
    let mut entry = entry(NAMES[who], &DIALECTS, &format!("{scheme}://localhost:{}", ports[who].number()));
    if who == OVER_TLS {
        entry["tls"] = json!({"ca_file": authority.write(folder)});
    }
    entry["attempts"] = json!(2);
    entry["timeouts"] = json!({"connect": "2s", "first_byte": "1500ms", "idle": "1500ms"});
    entry["circuit"] = json!({"failures": 5, "ratio": 0.5, "window": "10s", "open": "500ms", "half_open": 2});
    entry["limits"] = json!({"total": {"usd": ROOM}});
    entry
}
