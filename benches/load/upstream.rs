//! A provider that answers at once, so that what is measured is the way to it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{net::TcpListener, sync::watch, task::LocalSet};

use crate::scenario::{self, CHAT_PATH, EVENTS, EVENTS_BEFORE_HOLD, HOLD, RELEASE_PATH};

type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = Infallible>>>;

/// Serves until it is killed.
pub async fn run(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let answers = Answers::new();
    let local = LocalSet::new();
    local
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let answers = answers.clone();
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| answers.clone().answer(request));
                    // A proxy that closes its connection is not this part's concern.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

#[derive(Clone)]
struct Answers {
    whole: Bytes,
    event: Bytes,
    ending: Bytes,
    ending_with_usage: Bytes,
    /// Counts the releases: a held stream ends with the next one.
    releases: watch::Sender<u64>,
}

impl Answers {
    fn new() -> Self {
        Self {
            whole: scenario::whole_answer(),
            event: scenario::event(),
            ending: scenario::ending(false),
            ending_with_usage: scenario::ending(true),
            releases: watch::channel(0).0,
        }
    }

    async fn answer(self, request: Request<Incoming>) -> hyper::Result<Response<AnyBody>> {
        let path_is_chat = request.method() == Method::POST && request.uri().path() == CHAT_PATH;
        if request.uri().path() == RELEASE_PATH {
            self.releases.send_modify(|count| *count += 1);
            return Ok(response(StatusCode::OK, "text/plain", Box::pin(Full::from("released"))));
        }
        let body = request.into_body().collect().await?.to_bytes();
        if !path_is_chat {
            return Ok(response(StatusCode::NOT_FOUND, "text/plain", Box::pin(Full::from("not here"))));
        }
        let says = |text: &[u8]| memmem::find(&body, text).is_some();
        Ok(if !says(br#""stream":true"#) {
            response(StatusCode::OK, "application/json", Box::pin(Full::from(self.whole.clone())))
        } else {
            let ending = if says(br#""include_usage":true"#) { &self.ending_with_usage } else { &self.ending };
            let body = if says(format!("\"{HOLD}\"").as_bytes()) { self.held(ending) } else { self.streamed(ending) };
            response(StatusCode::OK, "text/event-stream", body)
        })
    }

    /// Each event is a chunk of its own, as fast as it can be written.
    fn streamed(&self, ending: &Bytes) -> AnyBody {
        Box::pin(Chunks { event: self.event.clone(), left: EVENTS, ending: Some(ending.clone()) })
    }

    fn held(&self, ending: &Bytes) -> AnyBody {
        let mut released = self.releases.subscribe();
        let ending = ending.clone();
        let start = stream::iter(vec![self.event.clone(); EVENTS_BEFORE_HOLD]);
        let end = stream::once(async move {
            // An error would mean that the upstream itself is gone.
            let _ = released.changed().await;
            ending
        });
        Box::pin(StreamBody::new(start.chain(end).map(|bytes| Ok(Frame::data(bytes)))))
    }
}

struct Chunks {
    event: Bytes,
    left: usize,
    ending: Option<Bytes>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = if self.left > 0 {
            self.left -= 1;
            Some(self.event.clone())
        } else {
            self.ending.take()
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn response(status: StatusCode, content_type: &'static str, body: AnyBody) -> Response<AnyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
