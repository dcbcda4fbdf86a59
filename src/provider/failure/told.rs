//! When a provider says to come back: in headers that all, or only some, send.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// Numbers from here on are no seconds to wait but a time: Unix seconds.
const UNIX_SECONDS: f64 = 1e8;
/// And from here on, Unix milliseconds.
const UNIX_MILLISECONDS: f64 = 1e11;

/// Limits and when they are full again, as pairs of headers: what is left, and the reset. Only a limit that is used up
/// says when to come back; the others are full again some time too.
const LIMITS: &[(&str, &str)] = &[
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ("anthropic-priority-input-tokens-remaining", "anthropic-priority-input-tokens-reset"),
    ("anthropic-priority-output-tokens-remaining", "anthropic-priority-output-tokens-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
];

/// How long to stay away, as the head of an error answer says at `now` (Unix milliseconds).
#[must_use]
pub fn told(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let value = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after_ms = || from_number(value("retry-after-ms")?.parse::<f64>().ok()? / 1_000.0);
    let retry_after = || wait(value("retry-after")?, now);
    let unified = || {
        let rejected = value("anthropic-ratelimit-unified-status")? == "rejected";
        wait(value("anthropic-ratelimit-unified-reset").filter(|_| rejected)?, now)
    };
    let used_up = || {
        let resets = LIMITS.iter().filter(|(left, _)| value(left).is_some_and(is_nothing));
        resets.filter_map(|(_, reset)| wait(value(reset)?, now)).max()
    };
    retry_after_ms().or_else(retry_after).or_else(unified).or_else(used_up)
}

/// Seconds to wait, a time, or `1m30s`.
fn wait(text: &str, now: i64) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            UNIX_MILLISECONDS.. => from_number((number - ms(now)) / 1_000.0),
            UNIX_SECONDS.. => from_number(number - ms(now) / 1_000.0),
            _ => from_number(number),
        };
    }
    let at = || text.parse::<Timestamp>().or_else(|_| jiff::fmt::rfc2822::parse(text).map(|at| at.timestamp())).ok();
    duration(text).or_else(|| {
        let left = at()?.as_millisecond().saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    })
}

/// `1h2m3.5s`, `20ms`, `34.07s`: as Go and Protocol Buffers write it.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(from_number(number * seconds)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// Seconds; what is over is no time at all.
fn from_number(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

fn is_nothing(left: &str) -> bool {
    left.parse::<f64>().is_ok_and(|left| left <= 0.0)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of this age are exact")]
const fn ms(now: i64) -> f64 {
    now as f64
}
