//! Clients that ask at once, and what each of them got.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::support::Wire;
use crate::support::admin::Caller;
use crate::support::gateway::MODEL;
use crate::support::wire::request;

use super::till::{body, way};

/// What a client got.
#[derive(Debug)]
pub struct Asked {
    pub number: usize,
    pub took: Duration,
    pub id: String,
    pub status: u16,
    pub body: Bytes,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As the answer's framing says.
    Whole,
    /// Cut off.
    Broken,
    /// The client left.
    Left,
}

/// Whether the client of this request leaves as soon as it has seen something of a stream.
fn leaves(number: usize) -> bool {
    way(number).1 && number % 7 == 3
}

/// Sends the requests of these numbers, so many at once, each over a connection of its own.
pub async fn crowd(gateway: SocketAddr, callers: &[Caller], numbers: Range<usize>, at_once: usize) -> Vec<Asked> {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let clients = (0..at_once).map(|_| {
        let (next, callers) = (Arc::clone(&next), callers.to_vec());
        tokio::spawn(async move {
            let mut asked = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return asked;
                }
                asked.push(ask(gateway, &callers[number % callers.len()], number).await);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all
}

async fn ask(gateway: SocketAddr, caller: &Caller, number: usize) -> Asked {
    let began = Instant::now();
    let (api, stream) = way(number);
    let mut wire = Wire::connect(gateway).await;
    let headers = [("authorization", &*format!("Bearer {}", caller.secret)), ("content-type", "application/json")];
    wire.send(request("POST", &api.path(MODEL, stream), &headers, body(number).as_bytes())).await.unwrap();
    let head = wire.head().await.unwrap_or_else(|error| panic!("request {number} got no answer at all: {error}"));
    let mut body = BytesMut::new();
    let end = loop {
        match wire.piece().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break End::Whole,
            Err(_) => break End::Broken,
        }
        if leaves(number) && head.status == 200 {
            break End::Left;
        }
    };
    let id = head.request_id().to_owned();
    Asked { number, took: began.elapsed(), id, status: head.status, body: body.freeze(), end }
}
