//! The real binary, with a configuration of its own in a folder of its own.

mod launch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::admin::Caller;
use super::ports::Port;
use super::small_disk::SmallDisk;
use super::wire::Reply;
use super::{Admin, Api, Wire, client, eventually};
use crate::servers::process::Process;

pub use launch::{ADMIN_TOKEN, BINARY, run, set, upgrade};
use launch::{launch, write_config};

/// The model that every gateway of the tests has a price for.
pub const MODEL: &str = "test-model";

/// Its price, USD per million tokens; [`Tokens::cost`](super::Tokens::cost) knows the same numbers.
pub fn price() -> Value {
    json!({
        "inputUsdPerMillion": 3, "outputUsdPerMillion": 15, "cacheReadUsdPerMillion": 0.3,
        "cacheWrite5mUsdPerMillion": 3.75, "cacheWrite1hUsdPerMillion": 6, "reasoningUsdPerMillion": 17,
    })
}

/// What a gateway is to be started with.
pub struct Setup {
    config: Value,
    priced: Vec<String>,
    demo: bool,
    small_disk: Option<u64>,
    environment: Vec<(String, String)>,
    folder: TempDir,
    ports: [Port; 3],
}

/// A running gateway; killed when dropped. A failing test prints its log.
pub struct Gateway {
    process: Process,
    disk: Option<SmallDisk>,
    folder: TempDir,
    config: Value,
    environment: Vec<(String, String)>,
    ports: [Port; 3],
    admin: Admin,
    caller: Option<Caller>,
}

impl Setup {
    /// A gateway on SQLite in front of these providers.
    pub fn new(providers: impl IntoIterator<Item = Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [Port::take(), Port::take(), Port::take()];
        let config = json!({
            "server": {
                "listen": ports[0].address(), "admin": ports[1].address(), "metrics": ports[2].address(), "threads": 2,
            },
            "database": {"url": format!("sqlite://{}", folder.path().join("tollgate.db").display())},
            "node": {"name": "test", "data_dir": folder.path().join("data")},
            "providers": providers.into_iter().collect::<Vec<_>>(),
        });
        Self {
            config,
            priced: vec![MODEL.to_owned()],
            demo: false,
            small_disk: None,
            environment: Vec::new(),
            folder,
            ports,
        }
    }

    /// Sets a value of the configuration, by its path: `server.timeouts.header`.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.config, path, value.into());
        self
    }

    /// Gives a further model the price of [`MODEL`].
    pub fn priced(mut self, model: &str) -> Self {
        self.priced.push(model.to_owned());
        self
    }

    /// Starts it as `serve --demo`.
    pub fn demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// Gives it a disk of its own of so many bytes for `node.data_dir`.
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.small_disk = Some(bytes);
        self
    }

    /// Runs it with these variables.
    #[allow(dead_code, reason = "only tests of several nodes do")]
    pub fn environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// A folder for certificates and the like, removed with the gateway.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration, for a command that is to run before the gateway.
    pub fn write(&self) {
        write_config(self.folder.path(), &self.config);
    }

    /// Writes the configuration and runs the program, without waiting for anything.
    pub fn spawn(self) -> Gateway {
        let Self { config, demo, small_disk, environment, folder, ports, .. } = self;
        write_config(folder.path(), &config);
        let disk = small_disk.map(|bytes| {
            let data_dir = Path::new(config["node"]["data_dir"].as_str().unwrap());
            std::fs::create_dir_all(data_dir).unwrap();
            SmallDisk::mount(data_dir, bytes)
        });
        let process = launch(folder.path(), demo, disk.as_ref(), &environment);
        let admin = Admin::new(&format!("http://{}", ports[1].address()), ADMIN_TOKEN);
        Gateway { process, disk, folder, config, environment, ports, admin, caller: None }
    }

    /// Runs the program until it is ready, prices the models, and makes a user with a key.
    pub async fn start(self) -> Gateway {
        let priced = self.priced.clone();
        let mut gateway = self.spawn();
        gateway.ready().await;
        for model in priced {
            gateway.admin.put(&format!("/prices/{model}"), &price()).await;
        }
        gateway.caller = Some(gateway.admin.caller(json!({}), json!({})).await);
        gateway
    }
}

impl Gateway {
    /// A gateway in front of these providers, ready to use.
    pub async fn start(providers: impl IntoIterator<Item = Value>) -> Self {
        Setup::new(providers).start().await
    }

    /// Starts the program anew on what it has left, once it has ended.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// The same, with these variables.
    pub async fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.ended().await;
        self.relaunch_with(environment);
        self.ready().await;
    }

    /// The same, without waiting for anything.
    pub fn relaunch(&mut self) {
        self.relaunch_with(&[]);
    }

    fn relaunch_with(&mut self, environment: &[(&str, &str)]) {
        let more = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Vec<_> = self.environment.iter().cloned().chain(more).collect();
        self.process = launch(self.folder.path(), false, self.disk.as_ref(), &environment);
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Where it keeps what is its own.
    pub fn data_dir(&self) -> PathBuf {
        let path = self.config["node"]["data_dir"].as_str().unwrap();
        self.disk.as_ref().map_or_else(|| path.into(), SmallDisk::path)
    }

    /// The disk that it was given.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it was given a small disk")
    }

    /// The files in the folder of journals.
    pub fn journals(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(self.data_dir().join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&mut self) {
        let (http, url) = (client(), format!("{}/readyz", self.admin.base()));
        eventually("the gateway is ready", async || {
            let exited = self.process.exit_status();
            assert!(exited.is_none(), "the gateway has ended: {exited:?}");
            let answer = http.get(&url).send().await;
            answer.is_ok_and(|response| response.status() == 200).then_some(())
        })
        .await;
    }

    /// The gateway's address as a base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports[0].address())
    }

    pub fn address(&self) -> SocketAddr {
        self.ports[0].address().parse().unwrap()
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    pub fn caller(&self) -> &Caller {
        self.caller.as_ref().expect("only a gateway that was started has a caller")
    }

    /// The secret of the key that [`Setup::start`] made.
    pub fn key(&self) -> &str {
        &self.caller().secret
    }

    pub fn database_url(&self) -> String {
        self.config["database"]["url"].as_str().unwrap().to_owned()
    }

    /// A gateway on the same database: it tells what this one knew when it ended.
    pub async fn successor(&self) -> Self {
        let nowhere = super::provider::entry("nowhere", &["openai_chat"], "http://127.0.0.1:9");
        let mut successor = Setup::new([nowhere]).set("database.url", self.database_url()).spawn();
        successor.ready().await;
        successor
    }

    pub fn config(&self) -> &Value {
        &self.config
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged and printed so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// A connection of one's own to the gateway.
    pub async fn connect(&self) -> Wire {
        Wire::connect(self.address()).await
    }

    /// Asks with the gateway's own key over a connection of its own, and reads the whole answer.
    pub async fn ask(&self, api: Api, stream: bool) -> Reply {
        self.ask_with(self.key(), api, MODEL, stream).await
    }

    /// Asks for a model with any key.
    pub async fn ask_with(&self, key: &str, api: Api, model: &str, stream: bool) -> Reply {
        let mut wire = self.connect().await;
        wire.post(&api.path(model, stream), key, &api.request(model, stream)).await;
        wire.reply().await.unwrap()
    }

    /// The value of a metric, 0 when it was never set; `name` may have labels: `requests_total{status="200"`.
    /// The values of all series that begin so are added up.
    pub async fn metric(&self, name: &str) -> f64 {
        self.series(name).await.into_iter().map(|(_, value)| value).sum()
    }

    /// All series that begin so, each with its value.
    pub async fn series(&self, name: &str) -> Vec<(String, f64)> {
        let url = format!("http://{}/metrics", self.ports[2].address());
        let text = client().get(url).send().await.unwrap().text().await.unwrap();
        let series = text.lines().filter_map(|line| line.strip_prefix("tollgate_")?.rsplit_once(' '));
        let of_name = series.filter(|(series, _)| series.starts_with(name));
        of_name.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect()
    }

    /// The number of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a metric has this value.
    pub async fn metric_is(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), async || {
            ((self.metric(name).await - value).abs() < f64::EPSILON).then_some(())
        })
        .await;
    }

    /// Changes a value in the configuration file, by its path. [`signal`](Self::signal) makes it known.
    pub fn rewrite(&mut self, path: &str, value: impl Into<Value>) {
        set(&mut self.config, path, value.into());
        write_config(self.folder.path(), &self.config);
    }

    /// Changes a setting of the running gateway.
    pub async fn reload(&mut self, key: &str, value: Value) {
        let before = self.metric("config_reload_timestamp").await;
        self.rewrite(key, value);
        self.signal("HUP");
        eventually("the reload", async || (self.metric("config_reload_timestamp").await > before).then_some(())).await;
    }

    /// Puts any text into the configuration file.
    pub fn rewrite_raw(&self, text: &str) {
        std::fs::write(self.folder.path().join("tollgate.yaml"), text).unwrap();
    }

    /// Sends a signal: `HUP`, `TERM`, ...
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway ends", async || self.process.exit_status()).await
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }
}

impl Drop for Gateway {
    /// Whatever a test was about, no secret that it made is in the log.
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log\n{log}--- end of the gateway's log");
            return;
        }
        let secrets = self.admin.secrets();
        // What a demo prints is to be pasted.
        for line in log.lines().filter(|line| !line.starts_with("curl ")) {
            assert!(!secrets.iter().any(|secret| line.contains(secret)), "a secret is in the log: {line}");
        }
    }
}
