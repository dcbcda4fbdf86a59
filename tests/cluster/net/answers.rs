//! From Redis back to a node.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::frame;
use super::proxy::Way;

/// What stands for an answer that nobody waits for any more: the next answer belongs to the next command.
const LOST: &[u8] = b"-ERR the test has lost the answer\r\n";

/// The first byte of what Redis says unasked.
const UNASKED: u8 = b'>';

/// What is done with the next answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Pass,
    /// The node asked once.
    Hide,
    /// The node is told at this moment that it is lost; it has given up before.
    Lose(Instant),
    /// The same, and Redis was not asked.
    Nothing(Instant),
    Cut,
}

/// The answers that are to come, in the order of the commands.
#[derive(Default)]
pub(super) struct Order {
    slots: Mutex<VecDeque<Slot>>,
    more: Notify,
    /// What comes unasked is marked as such.
    marks: AtomicBool,
    listens: AtomicBool,
}

impl Order {
    pub fn push(&self, slots: impl IntoIterator<Item = Slot>) {
        self.slots.lock().extend(slots);
        self.more.notify_one();
    }

    /// From now on what comes unasked is marked: answers can be told from it.
    pub fn marks(&self) {
        self.marks.store(true, Ordering::Release);
    }

    /// The node wants to be told what it does not ask for. Whether that is marked; else nothing that comes from now
    /// on is taken for an answer.
    pub fn listens(&self) -> bool {
        let marks = self.marks.load(Ordering::Acquire);
        self.listens.store(!marks, Ordering::Release);
        marks
    }

    fn pop(&self) -> Option<Slot> {
        self.slots.lock().pop_front()
    }
}

/// Passes answers back until either side ends the connection.
pub(super) async fn pass(mut redis: OwnedReadHalf, mut node: OwnedWriteHalf, order: &Order, way: &Way) {
    let mut hangs = way.hangs.subscribe();
    let mut buffer = BytesMut::new();
    loop {
        if order.listens.load(Ordering::Acquire) {
            return listen(redis, node, buffer, way).await;
        }
        if buffer.first() == Some(&UNASKED)
            && let Some(message) = frame::take(&mut buffer)
        {
            if node.write_all(&message).await.is_err() {
                return;
            }
            continue;
        }
        let (answer, at) = match order.pop() {
            Some(Slot::Nothing(at)) => (Some(Bytes::from_static(LOST)), Some(at)),
            Some(slot) => {
                let Some(answer) = next(&mut redis, &mut node, &mut buffer, way).await else { return };
                match slot {
                    Slot::Pass => (Some(answer), None),
                    Slot::Hide => (None, None),
                    Slot::Lose(at) | Slot::Nothing(at) => (Some(Bytes::from_static(LOST)), Some(at)),
                    Slot::Cut => return,
                }
            }
            // Redis says nothing of its own accord, but it may go away.
            None => tokio::select! {
                () = order.more.notified() => continue,
                read = redis.read_buf(&mut buffer) => match read {
                    Ok(1..) => continue,
                    _ => return,
                },
            },
        };
        if let Some(at) = at {
            sleep_until(at).await;
        }
        if let Some(answer) = answer
            && (hangs.wait_for(|hangs| !hangs).await.is_err() || node.write_all(&answer).await.is_err())
        {
            return;
        }
    }
}

/// The next answer; none when there will be none. What comes unasked meanwhile is passed back at once.
async fn next(redis: &mut OwnedReadHalf, node: &mut OwnedWriteHalf, buffer: &mut BytesMut, way: &Way) -> Option<Bytes> {
    loop {
        while let Some(answer) = frame::take(buffer) {
            way.figures.lock().bytes_back += answer.len() as u64;
            if answer[0] != UNASKED {
                return Some(answer);
            }
            node.write_all(&answer).await.ok()?;
        }
        if !matches!(redis.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
}

async fn listen(mut redis: OwnedReadHalf, mut node: OwnedWriteHalf, mut buffer: BytesMut, way: &Way) {
    let mut hangs = way.hangs.subscribe();
    loop {
        if hangs.wait_for(|hangs| !hangs).await.is_err() || node.write_all_buf(&mut buffer).await.is_err() {
            return;
        }
        match redis.read_buf(&mut buffer).await {
            Ok(read @ 1..) => way.figures.lock().bytes_back += read as u64,
            _ => return,
        }
    }
}
