//! A throw-away Redis on a free port of 127.0.0.1.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Redis {
    /// Starts one.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-redis-").tempdir().unwrap();
        // The port is free now; the moment until Redis binds it is the only gap.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { process: None, folder, port };
        redis.restart();
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a crash would; what it held is lost.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again, empty, at the same URL.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.port;
        let folder = self.folder.path();
        let mut process = Process::start("redis-server", None, &folder.join("log"), |command| {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.arg("--dir").arg(folder);
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
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"+PONG"
}
