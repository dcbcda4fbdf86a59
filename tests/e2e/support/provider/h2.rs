//! The provider's side of HTTP/2.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};

use super::answer::{Answer, End, Part};
use super::{Received, State};
use crate::support::wire::Stream;

/// Serves one connection until either side ends it.
pub(super) async fn serve(stream: impl Stream, state: &State, connection: usize) {
    let Ok(mut server) = h2::server::handshake(stream).await else { return };
    let mut requests = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Some(Ok((request, respond))) => requests.push(answer(request, respond, state, connection)),
                _ => return,
            },
            Some(()) = futures::StreamExt::next(&mut requests), if !requests.is_empty() => {}
        }
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, state: &State, connection: usize) {
    let (parts, mut body) = request.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let index = state.arrived(Received {
        connection,
        version: http::Version::HTTP_2,
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers.collect(),
        body: Bytes::new(),
        complete: false,
        abandoned: false,
    });
    if !state.is_next_early() {
        let mut whole = BytesMut::new();
        while let Some(piece) = body.data().await {
            let Ok(piece) = piece else { return state.abandoned(index) };
            let _ = body.flow_control().release_capacity(piece.len());
            whole.extend_from_slice(&piece);
        }
        state.completed(index, whole.freeze());
    }
    let answer = state.answer(index);
    // The connection may be gone before its streams hear of it.
    let mut unanswered = Unanswered { state, index: Some(index) };
    if write(&mut respond, &answer).await.is_some() {
        unanswered.index = None;
    }
}

/// A request that the gateway will have abandoned when nobody answers it any more.
struct Unanswered<'a> {
    state: &'a State,
    index: Option<usize>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.state.abandoned(index);
        }
    }
}

/// Sends an answer; none when the gateway has reset the stream meanwhile.
async fn write(respond: &mut SendResponse<Bytes>, answer: &Answer) -> Option<()> {
    for part in &answer.before {
        tokio::select! {
            () = wait(part) => {}
            _ = poll_fn(|context| respond.poll_reset(context)) => return None,
        }
    }
    if answer.cut == Some(0) {
        if answer.end == End::Hang {
            let _ = poll_fn(|context| respond.poll_reset(context)).await;
            return None;
        }
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Some(());
    }
    let mut head = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        head = head.header(name, value);
    }
    let mut stream = respond.send_response(head.body(()).unwrap(), false).ok()?;
    for part in &answer.parts {
        match part {
            Part::Bytes(bytes) => stream.send_data(bytes.clone(), false).ok()?,
            other => tokio::select! {
                () = wait(other) => {}
                _ = poll_fn(|context| stream.poll_reset(context)) => return None,
            },
        }
    }
    match answer.end {
        End::KeepAlive => stream.send_data(Bytes::new(), true).ok()?,
        End::Close | End::Reset => stream.send_reset(Reason::INTERNAL_ERROR),
        End::Hang => {
            let _ = poll_fn(|context| stream.poll_reset(context)).await;
            return None;
        }
    }
    Some(())
}

async fn wait(part: &Part) {
    match part {
        Part::Pause(time) => tokio::time::sleep(*time).await,
        Part::Gate(gate) => gate.pass().await,
        Part::Bytes(_) => {}
    }
}
