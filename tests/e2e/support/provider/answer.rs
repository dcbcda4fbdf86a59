//! What a pretend provider does with one request.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Holds an answer back until the test opens it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `count` waiting parts, now or later, pass.
    pub fn open(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everything pass from now on.
    pub fn open_wide(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// A step of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// A piece of the body: one write, and one chunk or data frame.
    Bytes(Bytes),
    Pause(Duration),
    Gate(Gate),
}

/// How the body is framed over HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunked,
}

/// What happens to the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    KeepAlive,
    /// Closed without a word.
    Close,
    Reset,
    /// Held open, nothing more is sent.
    Hang,
}

/// One answer, from the moment at which the request is read.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    pub(super) before: Vec<Part>,
    pub(super) parts: Vec<Part>,
    pub(super) end: End,
    /// Answer as soon as the head of the request is there.
    pub(super) early: bool,
    /// Send only so many bytes, head included.
    pub(super) cut: Option<usize>,
    /// By how many bytes the length that the head says differs from the body's.
    pub(super) lie: isize,
    /// Bytes after the end of the answer.
    pub(super) garbage: Bytes,
}

impl Answer {
    fn new(status: u16, content_type: &str, framing: Framing, parts: Vec<Part>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            framing,
            before: Vec::new(),
            parts,
            end: End::KeepAlive,
            early: false,
            cut: None,
            lie: 0,
            garbage: Bytes::new(),
        }
    }

    /// A whole body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(status, content_type, Framing::Length, vec![Part::Bytes(body.into())])
    }

    /// A stream of events, each a chunk of its own.
    pub fn sse(events: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        let parts = events.into_iter().map(|event| Part::Bytes(event.into())).collect();
        Self::new(200, "text/event-stream; charset=utf-8", Framing::Chunked, parts)
    }

    /// Reads the request and sends nothing at all.
    pub fn silence(end: End) -> Self {
        Self { end, cut: Some(0), ..Self::bytes(200, "application/json", "") }
    }

    /// Reads the request and sends these bytes, which need not be HTTP.
    pub fn raw(bytes: &'static str, end: End) -> Self {
        Self::silence(end).after_bytes(bytes)
    }

    /// Sends these bytes before the head.
    pub fn after_bytes(mut self, bytes: &'static str) -> Self {
        self.before.push(Part::Bytes(Bytes::from_static(bytes.as_bytes())));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(given, _)| given != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Says a length that differs from the body's by so many bytes, all of which is sent.
    pub fn lies(mut self, by: isize) -> Self {
        (self.framing, self.lie) = (Framing::Length, by);
        self
    }

    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Sends only the first `length` bytes, head included, and then does as [`end`](Self::end) says.
    pub fn cut(mut self, length: usize, end: End) -> Self {
        (self.cut, self.end) = (Some(length), end);
        self
    }

    /// Does not read the body of the request.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Waits before the head is sent.
    pub fn after(mut self, time: Duration) -> Self {
        self.before.push(Part::Pause(time));
        self
    }

    /// Waits for the gate before the head is sent.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.before.push(Part::Gate(gate.clone()));
        self
    }

    /// Waits for the gate before each piece but the first.
    pub fn gated(mut self, gate: &Gate) -> Self {
        self.interleave(|| Part::Gate(gate.clone()));
        self
    }

    /// Waits for the gate after the last piece, before the end of the body is told.
    pub fn held(mut self, gate: &Gate) -> Self {
        self.parts.push(Part::Gate(gate.clone()));
        self
    }

    /// Waits for the gate after so many pieces.
    pub fn gated_after(mut self, pieces: usize, gate: &Gate) -> Self {
        self.parts.insert(pieces, Part::Gate(gate.clone()));
        self
    }

    /// Waits before each piece but the first.
    pub fn paced(mut self, gap: Duration) -> Self {
        self.interleave(|| Part::Pause(gap));
        self
    }

    /// Sends only the first `count` pieces, and then does as [`end`](Self::end) says.
    pub fn only(mut self, count: usize, end: End) -> Self {
        let mut left = count;
        self.parts.retain(|part| match part {
            Part::Bytes(_) => {
                let keep = left > 0;
                left = left.saturating_sub(1);
                keep
            }
            _ => left > 0,
        });
        if end != End::KeepAlive {
            self.framing = Framing::Chunked;
        }
        self.end = end;
        self
    }

    /// Splits the body into pieces of this many bytes, whatever its events are.
    pub fn pieces(mut self, size: usize) -> Self {
        let body = self.body();
        let pieces = body.chunks(size).map(|piece| Part::Bytes(Bytes::copy_from_slice(piece)));
        self.parts = pieces.collect();
        self
    }

    /// Sends bytes after the end of the answer.
    pub fn garbage(mut self, bytes: &'static str) -> Self {
        self.garbage = Bytes::from_static(bytes.as_bytes());
        self
    }

    /// The whole body.
    pub fn body(&self) -> Bytes {
        let mut body = BytesMut::new();
        for part in &self.parts {
            if let Part::Bytes(bytes) = part {
                body.extend_from_slice(bytes);
            }
        }
        body.freeze()
    }

    fn interleave(&mut self, between: impl Fn() -> Part) {
        let parts = std::mem::take(&mut self.parts);
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                self.parts.push(between());
            }
            self.parts.push(part);
        }
    }
}
