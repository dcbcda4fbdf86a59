//! The only way out: one attempt at one provider, from the connection to the last byte of the answer.
//!
//! [`Exchange`] is the engine. It sends the request, retries once on a stale pooled connection, keeps separate
//! time-outs for the first byte and for silence in between, hands every byte to the attempt's [`Observer`] as it
//! arrives, holds an answer back until its observer knows what it is, and reads on after the client has left. Where the gateway
//! allows it, a `Race` starts a second exchange beside one that is slow to begin. Neither knows
//! anything of Pingora's proxy; [`Connector`] is the thin shell through which `pingora-proxy` drives it.

mod answer;
mod attempt;
mod connector;
mod engine;
mod gate;
mod opening;
mod peer;
mod pieces;
mod probe;
mod race;
mod resolve;

pub use attempt::{Attempt, Beginning, DEADLINE, Ending, Gate, Observer, TOTAL_TIMEOUT, Timeouts};
pub use connector::Connector;
pub use engine::{DrainLimits, Exchange};
pub use peer::{Endpoint, EndpointError};
pub use probe::{ProbeError, Prober};
pub use race::{Challenger, Racer, Rivalry};
pub use resolve::Resolver;
