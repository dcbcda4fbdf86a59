//! The gate: an answer with a good status is held back until its observer knows whether it is one.

use std::time::Duration;

use pingora::{ErrorType, Result};
use tokio::time::Instant;

use super::answer::{Answer, earliest, idle_limit, read_piece, read_some};
use super::attempt::{Attempt, Beginning, Gate};
use super::pieces::Pieces;

/// What follows a bad beginning is awaited this long: then the answer can be passed on later as it came, and its
/// connection is used again.
const REST_TIME: Duration = Duration::from_millis(100);

/// Reads on with the head until it is clear what the answer is, or the gate's bounds are reached. What was read is what
/// goes on first.
///
/// # Errors
/// When the provider breaks off or falls silent before it is clear: nothing of the answer goes on.
pub(super) async fn hold(answer: &mut Answer, attempt: &Attempt, gate: Gate, deadline: Option<Instant>) -> Result<()> {
    if is_longer_than(answer, gate.max_bytes) {
        return Ok(());
    }
    let until = Instant::now() + gate.max_time;
    let mut held = Pieces::default();
    loop {
        match attempt.observer.beginning() {
            Beginning::Good => break,
            Beginning::Bad => {
                let rest = earliest(Some(Instant::now() + REST_TIME), deadline);
                // Broken off or not, there is nothing better in it.
                let _ = read_some(answer, attempt, &mut held, rest).await;
                break;
            }
            Beginning::Unclear if answer.ended || held.len() >= gate.max_bytes => break,
            Beginning::Unclear => {}
        }
        let idle = idle_limit(attempt, deadline);
        match read_piece(answer, attempt, earliest(idle, Some(until))).await {
            Ok(piece) => held.push(piece),
            Err(error) if *error.etype() == ErrorType::ReadTimedout && idle.is_none_or(|idle| until < idle) => break,
            Err(error) => return Err(error),
        }
    }
    let held = held.into_bytes();
    if attempt.observer.beginning() == Beginning::Bad {
        attempt.set_small_answer(held.clone());
    }
    if answer.ended || !held.is_empty() {
        answer.ahead = Some(held);
    }
    Ok(())
}

/// Errors are short.
fn is_longer_than(answer: &Answer, most: usize) -> bool {
    let length = answer.head.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > most)
}
