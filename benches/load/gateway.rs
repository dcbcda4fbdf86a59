//! The proxies under test, each before an upstream of its own kind: the gateway with everything on, and its yardstick.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};
use tollgate::server::{self, ServeOptions};

use crate::process::{Core, Process, free_address};

const ADMIN_TOKEN: &str = "bench-admin-token-that-is-long-enough";
/// So many that none of them comes near the highest limit that there is.
const KEYS: usize = 8;
const UPSTREAM: &str = "upstream";
const POLL: Duration = Duration::from_millis(50);
const READY_LIMIT: Duration = Duration::from_secs(30);
const LEDGER_LIMIT: Duration = Duration::from_secs(30);

/// Serves a configuration.
#[derive(clap::Args)]
pub struct Serve {
    config: PathBuf,
    #[arg(long)]
    without_journal: bool,
}

impl Serve {
    pub fn run(self) -> Result<()> {
        let Self { config, without_journal } = self;
        let admin_token = Some(ADMIN_TOKEN.to_owned());
        let options = ServeOptions { config: Some(config), admin_token, without_journal, ..ServeOptions::default() };
        Ok(server::serve(&options)?)
    }
}

/// What is compared with the pass-through.
#[derive(Clone, Copy)]
pub enum Subject {
    Tollgate,
    /// The upstream itself.
    Direct,
}

/// A proxy that listens.
pub struct Proxy {
    pub title: &'static str,
    pub address: SocketAddr,
    pub keys: Vec<String>,
    pub process: Process,
    ledger: Option<Ledger>,
}

impl Proxy {
    pub async fn subject(subject: Subject, upstream: SocketAddr) -> Result<Self> {
        match subject {
            Subject::Tollgate => Self::tollgate(upstream).await,
            Subject::Direct => {
                let address = free_address()?;
                let process = Process::part(Core::Proxy, &["upstream", &address.to_string()])?;
                Self::listening(UPSTREAM, address, process).await
            }
        }
    }

    pub async fn passthrough(upstream: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let process = Process::part(Core::Proxy, &["passthrough", &address.to_string(), &upstream.to_string()])?;
        Self::listening("pass-through", address, process).await
    }

    async fn listening(title: &'static str, address: SocketAddr, mut process: Process) -> Result<Self> {
        process.listens(address).await?;
        Ok(Self { title, address, keys: vec!["sk-bench".to_owned()], process, ledger: None })
    }

    async fn tollgate(upstream: SocketAddr) -> Result<Self> {
        Self::gateway("tollgate", upstream, |file| {
            Process::start(Core::Proxy, Path::new(env!("CARGO_BIN_EXE_tollgate")), |command| {
                command.args(["serve", "-c"]).arg(file).env("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN);
                // A new database's own admin token has no place in a report.
                command.stdout(Stdio::null());
            })
        })
        .await
    }

    /// The gateway as a part of this bench, which can do without its journal.
    pub async fn part(title: &'static str, upstream: SocketAddr, without_journal: bool) -> Result<Self> {
        Self::gateway(title, upstream, |file| {
            Process::start(Core::Proxy, &std::env::current_exe()?, |command| {
                command.arg("gateway").arg(file).stdout(Stdio::null());
                if without_journal {
                    command.arg("--without-journal");
                }
            })
        })
        .await
    }

    async fn gateway(
        title: &'static str,
        upstream: SocketAddr,
        start: impl FnOnce(&Path) -> Result<Process>,
    ) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let (address, admin, metrics) = (free_address()?, free_address()?, free_address()?);
        let file = data.path().join("tollgate.yaml");
        fs::write(&file, configuration(data.path(), address, admin, metrics, upstream))?;
        let mut process = start(&file)?;
        let ledger = Ledger { admin, client: Client::new(), _data: data };
        ledger.ready(&mut process).await?;
        let mut keys = Vec::new();
        for number in 0..KEYS {
            keys.push(ledger.new_key(number).await?);
        }
        Ok(Self { title, address, keys, process, ledger: Some(ledger) })
    }

    /// Whether there is no proxy in between.
    pub fn is_upstream(&self) -> bool {
        self.title == UPSTREAM
    }

    /// Sees that every one of `requests` has been charged, so that what was measured is the whole work.
    pub async fn all_charged(&self, requests: u64) -> Result<()> {
        match &self.ledger {
            Some(ledger) => ledger.all_charged(requests).await,
            None => Ok(()),
        }
    }
}

fn configuration(
    data: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    metrics: SocketAddr,
    upstream: SocketAddr,
) -> String {
    let data = data.display();
    format!(
        "server: {{listen: '{listen}', admin: '{admin}', metrics: '{metrics}', threads: 1}}\n\
         log: {{level: warn}}\n\
         database: {{url: 'sqlite://{data}/tollgate.db'}}\n\
         node: {{name: bench, data_dir: '{data}'}}\n\
         providers:\n\
         - {{name: bench, dialects: [openai_chat], base_url: 'http://{upstream}', api_key: sk-upstream,\n\
         limits: {{5h: {{usd: 1000000}}, daily: {{usd: 1000000}}, total: {{usd: 9000000}}}}}}\n"
    )
}

/// The gateway's REST API, as far as a bench needs it.
struct Ledger {
    admin: SocketAddr,
    client: Client,
    /// Removed at the end.
    _data: TempDir,
}

impl Ledger {
    async fn ready(&self, process: &mut Process) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let url = format!("http://{}/readyz", self.admin);
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            process.still_waits(deadline, "is ready")?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// A user and his key, with every guard on and none in the way.
    async fn new_key(&self, number: usize) -> Result<String> {
        let limits = json!({
            "5h": {"usd": 1_000_000}, "daily": {"usd": 1_000_000}, "weekly": {"usd": 1_000_000},
            "monthly": {"usd": 1_000_000}, "total": {"usd": 9_000_000},
        });
        let guards = json!({
            "name": format!("bench {number}"), "rpm": 1_000_000, "maxConcurrentRequests": 100_000, "limits": limits,
        });
        let user = self.post("/users", &guards).await?;
        let id = user["id"].as_i64().context("a user without an id")?;
        let key = self.post(&format!("/users/{id}/keys"), &guards).await?;
        Ok(key["secret"].as_str().context("a key without a secret")?.to_owned())
    }

    async fn all_charged(&self, requests: u64) -> Result<()> {
        let deadline = Instant::now() + LEDGER_LIMIT;
        loop {
            let summary = self.call(self.client.get(self.url("/usage/summary"))).await?;
            let charged = summary["requests"].as_u64().context("a summary without requests")?;
            if charged == requests {
                ensure!(summary["totalUsd"].as_f64().is_some_and(|usd| usd > 0.0), "requests without a cost");
                return Ok(());
            }
            ensure!(
                charged < requests && Instant::now() < deadline,
                "{charged} of {requests} requests are in the ledger"
            );
            sleep(POLL).await;
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(self.client.post(self.url(path)).json(body)).await
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let answer = request.bearer_auth(ADMIN_TOKEN).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "the REST API answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.admin)
    }
}
