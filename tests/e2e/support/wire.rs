//! A client that writes and reads HTTP/1.1 by hand: it can stop, split, lie and leave wherever a test wants.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{SOON, soon};

/// Anything that bytes can be read from and written to.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    socket: Socket,
    buffer: BytesMut,
    framing: Framing,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub head: Head,
    pub body: Bytes,
}

/// What is still to come of the body that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Done,
    Length(usize),
    /// In a chunk with this much left; none between chunks.
    Chunk(Option<usize>),
    UntilClose,
}

/// The text of a request; `content-length` is added unless the headers frame the body themselves.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: gateway\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let framed = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    if !framed && !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    [format!("{text}\r\n").as_bytes(), body].concat()
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// The same, where it may be that nobody listens.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(soon("connect", TcpStream::connect(address)).await?, |tcp| Box::new(tcp)))
    }

    /// Over TLS, to `localhost`.
    pub async fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        let tcp = soon("connect", TcpStream::connect(address)).await.unwrap();
        let socket = duplicate(&tcp);
        let name = ServerName::try_from("localhost").unwrap();
        let tls = soon("TLS handshake", TlsConnector::from(config).connect(name, tcp)).await?;
        Ok(Self { stream: Box::new(tls), socket, buffer: BytesMut::new(), framing: Framing::Done })
    }

    fn over(tcp: TcpStream, wrap: impl FnOnce(TcpStream) -> Box<dyn Stream>) -> Self {
        tcp.set_nodelay(true).unwrap();
        let socket = duplicate(&tcp);
        Self { stream: wrap(tcp), socket, buffer: BytesMut::new(), framing: Framing::Done }
    }

    /// Writes bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("the gateway reads", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Sends a JSON request with a key.
    pub async fn post(&mut self, target: &str, key: &str, body: &Value) {
        self.try_post(target, key, body).await.unwrap();
    }

    /// The same, where the connection may be lost.
    pub async fn try_post(&mut self, target: &str, key: &str, body: &Value) -> io::Result<()> {
        let headers = [("authorization", &*format!("Bearer {key}")), ("content-type", "application/json")];
        self.send(request("POST", target, &headers, body.to_string().as_bytes())).await
    }

    /// Reads the head of the next answer, an informational one too.
    pub async fn head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let text = self.buffer.split_to(end + 4);
        let text = std::str::from_utf8(&text).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let head = Head { status, headers: headers.collect() };
        self.framing = head.framing();
        Ok(head)
    }

    /// Reads the next piece of the body, without its framing; none at its end.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.framing {
                Framing::Done | Framing::Length(0) => {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                Framing::Length(left) => {
                    let piece = self.take(left).await?;
                    self.framing = Framing::Length(left - piece.len());
                    return Ok(Some(piece));
                }
                Framing::UntilClose => match self.take(usize::MAX).await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.framing = Framing::Done,
                    piece => return piece.map(Some),
                },
                Framing::Chunk(None) => {
                    let line = self.line().await?;
                    let size = line.split(';').next().unwrap().trim();
                    let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
                    self.framing = Framing::Chunk(Some(size));
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        self.framing = Framing::Done;
                    }
                }
                Framing::Chunk(Some(0)) => {
                    assert_eq!(self.line().await?, "", "a chunk ends with a line break");
                    self.framing = Framing::Chunk(None);
                }
                Framing::Chunk(Some(left)) => {
                    let piece = self.take(left).await?;
                    self.framing = Framing::Chunk(Some(left - piece.len()));
                    return Ok(Some(piece));
                }
            }
        }
    }

    /// Reads the rest of the body; an error when it is cut off.
    pub async fn body(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Reads body until at least `length` bytes have come.
    pub async fn at_least(&mut self, length: usize) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < length {
            body.extend_from_slice(&self.piece().await.unwrap().expect("the body goes on"));
        }
        body.freeze()
    }

    /// Reads a whole answer, past informational ones.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let mut head = self.head().await?;
        while head.status < 200 {
            head = self.head().await?;
        }
        Ok(Reply { body: self.body().await?, head })
    }

    /// Everything that comes until the other side ends the connection, in whatever way.
    pub async fn until_closed(&mut self) -> Bytes {
        while self.fill().await.is_ok() {}
        self.buffer.split().freeze()
    }

    /// Whether the other side closes the connection, having sent nothing more.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await.is_err()
    }

    /// Whether nothing comes for this long, the connection staying open.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.buffer.is_empty() && tokio::time::timeout(time, self.fill()).await.is_err()
    }

    /// Leaves with a reset instead of a farewell.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    async fn take(&mut self, most: usize) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let length = most.min(self.buffer.len());
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let line = self.buffer.split_to(end);
        self.buffer.advance(2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match tokio::time::timeout(SOON * 2, self.stream.read_buf(&mut self.buffer)).await {
            Err(_) => panic!("nothing came for {:?}; so far unread: {:?}", SOON * 2, self.buffer),
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read.map(|_| ()),
        }
    }
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The id that the gateway gave the request.
    pub fn request_id(&self) -> &str {
        self.get("x-tollgate-request-id").expect("every answer says its request id")
    }

    fn framing(&self) -> Framing {
        if self.status < 200 || self.status == 204 || self.status == 304 {
            return Framing::Done;
        }
        if self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunk(None);
        }
        match self.get("content-length") {
            Some(length) => Framing::Length(length.parse().unwrap()),
            None => Framing::UntilClose,
        }
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// A second handle, to set options with while the first is wrapped.
fn duplicate(tcp: &TcpStream) -> Socket {
    socket2::SockRef::from(tcp).try_clone().unwrap()
}
