//! A pretend provider on loopback: it does what the test tells it, byte by byte, and remembers what it was sent.

mod answer;
mod h1;
mod h2;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use answer::{Answer, End, Gate};

use super::certs::Authority;
use super::eventually;
use super::ports::Port;

/// The key that the gateway is given for every provider of the tests.
pub const UPSTREAM_KEY: &str = "sk-upstream-secret";

/// A listening provider; its connections end with it.
pub struct Provider {
    state: Arc<State>,
    address: SocketAddr,
    scheme: &'static str,
    accepting: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Number of the connection, from 0.
    pub connection: usize,
    pub version: http::Version,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Whether the body arrived whole; false when the answer did not wait for it.
    pub complete: bool,
    /// Whether the gateway went away before the answer had been sent.
    pub abandoned: bool,
}

/// Decides by a request, once its body is there.
type Answers = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

struct State {
    queue: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Option<Answers>>,
    requests: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    sent: AtomicUsize,
}

impl Provider {
    /// In clear, HTTP/1.1.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Over TLS with a certificate of this authority, speaking `h2` or `http/1.1` as ALPN decides.
    pub async fn start_tls(authority: &Authority, protocols: &[&str]) -> Self {
        Self::listen(Some(TlsAcceptor::from(authority.sign().server(protocols)))).await
    }

    /// At this port, where another one may just have ended.
    pub async fn start_at(port: &Port, tls: Option<&Authority>) -> Self {
        let listener = eventually("the port is free", async || TcpListener::bind(port.address()).await.ok()).await;
        let tls = tls.map(|authority| TlsAcceptor::from(authority.sign().server(&["http/1.1"])));
        Self::serve(listener, tls)
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls)
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(State {
            queue: Mutex::default(),
            otherwise: Mutex::default(),
            requests: Mutex::default(),
            connections: Mutex::default(),
            sent: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Self { state, address, scheme, accepting }
    }

    /// Answers one further request so.
    pub fn then(&self, answer: Answer) {
        self.state.queue.lock().push_back(answer);
    }

    /// Forgets what was said with [`then`](Self::then) and has not been needed.
    pub fn clear(&self) {
        self.state.queue.lock().clear();
    }

    /// Answers every request so for which nothing else was said.
    pub fn always(&self, answer: Answer) {
        self.decide(move |_| answer.clone());
    }

    /// Answers every request for which nothing else was said as `answers` decides.
    pub fn decide(&self, answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        *self.state.otherwise.lock() = Some(Box::new(answers));
    }

    pub fn url(&self) -> String {
        // By name: that is what its certificate says.
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// Its entry in the configuration: it is tried once, with time limits that suit a test.
    pub fn entry(&self, name: &str, dialects: &[&str]) -> Value {
        entry(name, dialects, &self.url())
    }

    /// What arrived so far.
    pub fn requests(&self) -> Vec<Received> {
        self.state.requests.lock().clone()
    }

    pub fn connections(&self) -> usize {
        *self.state.connections.lock()
    }

    /// How many bytes the gateway has taken over HTTP/1.1.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// The request number `index`, from 0, as soon as it has arrived, its body included.
    pub async fn request(&self, index: usize) -> Received {
        eventually(&format!("request {index} at the provider"), async || {
            self.requests().get(index).filter(|request| request.complete).cloned()
        })
        .await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An entry in the configuration for any address.
pub fn entry(name: &str, dialects: &[&str], url: &str) -> Value {
    json!({
        "name": name, "dialects": dialects, "base_url": url, "api_key": UPSTREAM_KEY, "attempts": 1,
        "timeouts": {"connect": "5s", "first_byte": "30s", "idle": "30s"},
        // However it fails: where that is not what a test is about, it is asked again.
        "circuit": {"failures": 1_000_000, "open": "1ms", "half_open": 1_000_000},
    })
}

/// The entry of a provider that refuses every connection, as long as the port is kept.
pub fn refusing(name: &str, dialects: &[&str]) -> (Port, Value) {
    let port = Port::take();
    let entry = entry(name, dialects, &format!("http://{}", port.address()));
    (port, entry)
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl State {
    /// Remembers a request whose head has arrived.
    fn arrived(&self, request: Received) -> usize {
        let mut requests = self.requests.lock();
        requests.push(request);
        requests.len() - 1
    }

    fn completed(&self, index: usize, body: Bytes) {
        let request = &mut self.requests.lock()[index];
        (request.body, request.complete) = (body, true);
    }

    fn abandoned(&self, index: usize) {
        self.requests.lock()[index].abandoned = true;
    }

    /// Whether the next answer does not wait for the body of its request.
    fn is_next_early(&self) -> bool {
        self.queue.lock().front().is_some_and(|answer| answer.early)
    }

    fn answer(&self, index: usize) -> Answer {
        if let Some(queued) = self.queue.lock().pop_front() {
            return queued;
        }
        let request = self.requests.lock()[index].clone();
        match &*self.otherwise.lock() {
            Some(answers) => answers(&request),
            None => Answer::json(500, &json!({"error": {"message": "the test did not say how to answer this"}})),
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let number = {
            let mut count = state.connections.lock();
            *count += 1;
            *count - 1
        };
        connections.spawn(serve(tcp, tls.clone(), Arc::clone(&state), number));
    }
}

async fn serve(tcp: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>, number: usize) {
    tcp.set_nodelay(true).unwrap();
    let socket = socket2::SockRef::from(&tcp).try_clone().unwrap();
    let Some(tls) = tls else { return h1::serve(tcp, &socket, &state, number).await };
    let Ok(stream) = tls.accept(tcp).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        h2::serve(stream, &state, number).await;
    } else {
        h1::serve(stream, &socket, &state, number).await;
    }
}
