//! The configuration file: from text to checked types, with every mistake reported at once.

mod error;
mod notation;
mod read;
mod reload;
mod schema;
mod types;

pub use error::ConfigError;
pub use notation::{AddressRange, DatabaseUrl, ListenAddress, ModelGlob, Multiplier, Ratio, RedisUrl, Secret};
pub use read::{Environment, load, parse};
pub use reload::restart_needed;
pub use schema::{schema, schema_text};
pub use types::*;

use serde_json::Value;

use crate::money::Usd;
use notation::{AmountNotation, Notation, TimeOfDayNotation};

/// What `node.name` is when the file does not say: the host's name where the environment has it.
const DEFAULT_NODE_NAME: &str = "${HOSTNAME:-node}";

impl Config {
    /// The effective configuration for people, with its secrets masked.
    #[must_use]
    pub fn masked(&self) -> Value {
        // The types mask themselves; only a file name that is not UTF-8 could fail here, and `parse` refuses those.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Reads an amount of US dollars as the file spells it: more than nothing, and as much as budgets can hold.
///
/// # Errors
/// The rest of a sentence that says what is wrong with it.
pub fn amount(value: &Value) -> Result<Usd, String> {
    AmountNotation::read(value)
}

/// Reads a time of day, `HH:MM`, as minutes after midnight.
///
/// # Errors
/// The rest of a sentence that says what is wrong with it.
pub fn time_of_day(value: &Value) -> Result<u16, String> {
    let time = TimeOfDayNotation::read(value)?;
    Ok(u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs()))
}
