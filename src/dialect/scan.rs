//! Reads answers as they pass: event framing and JSON, byte by byte, without ever keeping a whole event or body.

mod json;
mod scalar;
mod sse;
mod tree;

pub(super) use json::{Scanner, Sink, find_special};
pub(super) use scalar::Scalar;
pub(super) use sse::{Events, Framing};
pub(super) use tree::{Node, array, count, object, take};

#[cfg(test)]
mod tests;
