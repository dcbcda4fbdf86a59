//! A throw-away Redis on a free port of 127.0.0.1.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::Port;
use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server. It keeps nothing on disk but what it is told to save.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    folder: TempDir,
    port: Port,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Redis {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further settings, as on the command line: `["--maxmemory", "1mb"]`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_in(settings, &[])
    }

    /// The same with these variables.
    pub fn start_in(settings: &[&str], environment: &[(String, String)]) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-redis-").tempdir().unwrap();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut redis = Self { process: None, folder, port: Port::take(), settings, environment: environment.to_vec() };
        redis.restart();
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where it puts what it is told to save, and reads it when it is started.
    pub fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// Ends it at once, as a crash would; what it held and has not saved is lost.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same URL, with what it has saved: nothing, if it was not told to.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.port();
        let folder = self.folder.path();
        let mut process = Process::start("redis-server", None, &folder.join("log"), |command| {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.arg("--dir").arg(folder).args(&self.settings);
            command.envs(self.environment.iter().cloned());
        });
        process.wait_until(START_LIMIT, |_| answers(port));
        self.process = Some(process);
    }

    /// Stops it in the middle of what it does, without closing a connection.
    pub fn pause(&self) {
        self.process.as_ref().expect("the server is stopped").signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("the server is stopped").signal("CONT");
    }

    /// Has it do something; fails the test when it does not.
    pub async fn call<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_call(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Asks it to do something.
    ///
    /// # Errors
    ///
    /// What it says.
    pub async fn try_call<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 5];
    // One that reads what it has saved answers otherwise.
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG"
}
