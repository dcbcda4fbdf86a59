//! How deep a body is nested. The JSON parser skips what it does not need without counting levels.

use super::super::scan::find_special;
use super::{InspectError, MAX_DEPTH};

/// Refuses a body that is nested too deep. It must be valid JSON.
pub(super) fn check(body: &[u8]) -> Result<(), InspectError> {
    // Most bodies have few brackets at all (text lives in strings), and counting is much faster than following.
    let openers = memchr::memchr2_iter(b'{', b'[', body).take(MAX_DEPTH + 1).count();
    if openers <= MAX_DEPTH || deepest(body) <= MAX_DEPTH { Ok(()) } else { Err(InspectError::TooDeep) }
}

fn deepest(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(body, at),
            _ => {}
        }
    }
    deepest
}

/// The offset after the closing quote of the string whose content starts at `at`.
fn end_of_string(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = body.get(at..).and_then(find_special) {
        at += found + 1;
        if body.get(at - 1) == Some(&b'"') {
            return at;
        }
        at += 1;
    }
    body.len()
}
