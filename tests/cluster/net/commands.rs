//! From a node to Redis.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep};

use super::answers::{Order, Slot};
use super::faults::{Fate, LATE};
use super::frame;
use super::proxy::Way;

/// Passes commands on until either side ends the connection.
pub(super) async fn pass(mut node: OwnedReadHalf, mut redis: OwnedWriteHalf, order: &Order, way: &Arc<Way>) {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(command) = frame::take(&mut buffer) {
            if send(&command, &mut redis, order, way).await.is_err() {
                return;
            }
        }
        if !matches!(node.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn send(command: &Bytes, redis: &mut OwnedWriteHalf, order: &Order, way: &Arc<Way>) -> std::io::Result<()> {
    let words = frame::words(command);
    let fate = way.fate(&words, command.len());
    match words.as_slice() {
        [hello, version, ..] if hello.eq_ignore_ascii_case(b"HELLO") && *version == b"3" => order.marks(),
        [word, ..] if word.to_ascii_uppercase().ends_with(b"SUBSCRIBE") && order.listens() => {
            return redis.write_all(command).await;
        }
        _ => {}
    }
    let given_up = Instant::now() + way.given_up;
    match fate {
        Fate::Good => order.push([Slot::Pass]),
        Fate::Swallowed => order.push([Slot::Lose(given_up)]),
        Fate::Cut => order.push([Slot::Cut]),
        Fate::Doubled => {
            order.push([Slot::Pass, Slot::Hide]);
            redis.write_all(command).await?;
        }
        Fate::Late => {
            order.push([Slot::Nothing(given_up)]);
            tokio::spawn(send_late(command.clone(), way.redis()));
            return Ok(());
        }
    }
    redis.write_all(command).await
}

/// On a way of its own: everything that is asked meanwhile overtakes it.
async fn send_late(command: Bytes, redis: u16) {
    sleep(LATE).await;
    let Ok(mut redis) = TcpStream::connect(("127.0.0.1", redis)).await else { return };
    if redis.write_all(&command).await.is_ok() {
        let mut answer = BytesMut::new();
        while frame::take(&mut answer).is_none() && matches!(redis.read_buf(&mut answer).await, Ok(1..)) {}
    }
}
