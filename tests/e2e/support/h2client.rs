//! A client that speaks HTTP/2 frame by frame.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::soon;
use super::wire::{Head, Reply, Stream};

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct H2Client {
    sender: SendRequest<Bytes>,
    authority: String,
    scheme: &'static str,
}

/// An answer whose body is still to be read.
pub struct H2Answer {
    pub head: Head,
    pub body: RecvStream,
}

impl H2Client {
    /// In clear, without asking first ("prior knowledge").
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = soon("connect", TcpStream::connect(address)).await.unwrap();
        Self::over(tcp, address, "http").await
    }

    /// Over TLS, to `localhost`.
    pub async fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let tcp = soon("connect", TcpStream::connect(address)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = soon("TLS handshake", TlsConnector::from(config).connect(name, tcp)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the gateway chooses HTTP/2");
        Self::over(tls, address, "https").await
    }

    async fn over(stream: impl Stream + 'static, address: SocketAddr, scheme: &'static str) -> Self {
        let (sender, connection) = soon("HTTP/2 handshake", h2::client::handshake(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, authority: address.to_string(), scheme }
    }

    /// Sends the head of a POST; the body goes through the stream.
    pub async fn open(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("{}://{}{path}", self.scheme, self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.sender.clone().ready().await.unwrap();
        ready.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// Posts a body with a key and reads the whole answer.
    pub async fn post(&mut self, path: &str, key: &str, length: Option<usize>, body: &[u8]) -> Reply {
        let answer = self.start(path, key, length, body).await;
        answer.finish().await
    }

    /// Posts a body with a key and reads the head of the answer.
    pub async fn start(&mut self, path: &str, key: &str, length: Option<usize>, body: &[u8]) -> H2Answer {
        let (authorization, length) = (format!("Bearer {key}"), length.map(|length| length.to_string()));
        let mut headers = vec![("authorization", &*authorization), ("content-type", "application/json")];
        headers.extend(length.as_deref().map(|length| ("content-length", length)));
        let (response, mut stream) = self.open(path, &headers).await;
        send(&mut stream, body).await;
        H2Answer::from(soon("the head of an answer", response).await.unwrap())
    }
}

impl From<Response<RecvStream>> for H2Answer {
    fn from(response: Response<RecvStream>) -> Self {
        let (parts, body) = response.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Self { head: Head { status: parts.status.as_u16(), headers: headers.collect() }, body }
    }
}

impl H2Answer {
    /// The next piece of the body.
    pub async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = soon("the next piece", self.body.data()).await;
        if let Some(Ok(piece)) = &piece {
            self.body.flow_control().release_capacity(piece.len()).unwrap();
        }
        piece
    }

    /// Reads the rest.
    pub async fn finish(mut self) -> Reply {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece.unwrap());
        }
        Reply { head: self.head, body: body.freeze() }
    }
}

/// Sends a body within the flow-control window and ends the stream; less, when the gateway wants no more of it.
async fn send(stream: &mut SendStream<Bytes>, body: &[u8]) {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let granted = soon("room to send", std::future::poll_fn(|context| stream.poll_capacity(context))).await;
        let Some(Ok(granted)) = granted else { return };
        if stream.send_data(rest.split_to(granted.min(rest.len())), false).is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}
