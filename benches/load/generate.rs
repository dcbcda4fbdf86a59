//! The load generator: rlt's workers, each with one connection that it keeps.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rlt::{BenchSuite, IterInfo, IterReport, Status, cli::BenchCli};
use tokio::net::TcpStream;

use crate::scenario::{CHAT_PATH, Scenario};

/// One round of load on one target; the report goes to standard output.
#[derive(clap::Args, Clone)]
pub struct Generate {
    target: SocketAddr,
    scenario: Scenario,
    /// The connections share them out among themselves.
    #[arg(long = "key", required = true)]
    keys: Vec<String>,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    requests: u64,
}

impl Generate {
    pub async fn run(self) -> Result<()> {
        let (connections, requests) = (self.connections.to_string(), self.requests.to_string());
        let cli: BenchCli = clap::Parser::try_parse_from([
            "generate",
            "--quiet",
            "--output",
            "json",
            "--concurrency",
            &connections,
            "--iterations",
            &requests,
        ])?;
        let load =
            Load { target: self.target, scenario: self.scenario, keys: self.keys, body: self.scenario.request() };
        rlt::cli::run(cli, load).await
    }
}

#[derive(Clone)]
struct Load {
    target: SocketAddr,
    scenario: Scenario,
    keys: Vec<String>,
    body: Bytes,
}

#[async_trait]
impl BenchSuite for Load {
    type WorkerState = Client;

    async fn state(&self, worker: u32) -> Result<Client> {
        Client::connect(self.target, &self.keys[worker as usize % self.keys.len()]).await
    }

    async fn bench(&mut self, client: &mut Client, _: &IterInfo) -> Result<IterReport> {
        let start = Instant::now();
        let bytes = client.ask(self.scenario, self.body.clone()).await?;
        Ok(IterReport { duration: start.elapsed(), status: Status::success(200), bytes, items: 1 })
    }
}

/// One connection to a proxy.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    authorization: String,
}

impl Client {
    pub async fn connect(target: SocketAddr, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its failure is seen by the request that it carries.
        tokio::spawn(connection);
        Ok(Self { sender, host: target.to_string(), authorization: format!("Bearer {key}") })
    }

    /// Sends a chat request and returns once the head of its answer is there.
    pub async fn begin(&mut self, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::post(CHAT_PATH)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        self.sender.ready().await.context("the connection was closed")?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == 200, "status {}", response.status());
        Ok(response)
    }

    async fn ask(&mut self, scenario: Scenario, body: Bytes) -> Result<u64> {
        finish(self.begin(body).await?, 0, scenario).await
    }
}

/// Reads an answer, of which `read` bytes were read before, to its end, and sees that it is whole.
pub async fn finish(mut response: Response<Incoming>, read: u64, scenario: Scenario) -> Result<u64> {
    let mut length = read;
    while let Some(frame) = response.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    let expected = scenario.answer_length();
    ensure!(length == expected, "an answer had {length} bytes instead of {expected}");
    Ok(length)
}
