//! The configuration file: from text to checked types, with every mistake reported at once.

mod notation;
mod types;

pub use notation::{AddressRange, DatabaseUrl, ListenAddress, ModelGlob, Multiplier, Ratio, RedisUrl, Secret};
pub use types::*;

/// What `node.name` is when the file does not say: the host's name where the environment has it.
const DEFAULT_NODE_NAME: &str = "${HOSTNAME:-node}";
