//! What an answer costs: the price book, and the one formula.
//!
//! # The formula
//!
//! ```text
//! cost = round up to a nano-dollar of (
//!          ( sum over the kinds of tokens: tokens x rate  +  requestUsd  +  web searches x webSearchUsd )
//!          x the provider's multiplier )
//! ```
//!
//! Everything is an integer and only the end is rounded, once, upwards. Prices are whole pico-dollars per token;
//! they are kept in femto-dollars, so that the shares of them that the rules below take (1.25x, 0.1x) are whole too.
//! What is larger than money can count saturates: it never wraps to something cheap.
//!
//! # Which rate applies
//!
//! 1. **Context.** The input side of a request (input, cache reads and writes, audio and images of the prompt) decides
//!    its context tier: the highest whose `aboveTokens` it exceeds. The whole request is priced there, output too.
//!    A price left out of a context tier is the one of the next tier below, at last the base's. A cache, audio, image
//!    or reasoning price that comes from further below rises with the text price of its direction: input 3, cache
//!    read 0.3 and a tier with input 6 alone make a cache read of 0.6. (It never falls with it.)
//! 2. **Service tier.** What the provider says it served the request with. Its own price, at its own context tier, wins.
//!    A price that the service tier leaves out is the base's at the request's context. A service tier without context
//!    tiers of its own takes the base's: where both name a price, the dearer one applies, so that neither `priority`
//!    nor a long prompt gets cheaper by the other. To say that long prompts cost no more in a service tier,
//!    give it a context tier of its own. A service tier that the price does not know is priced as the base.
//! 3. **Left out everywhere.** Cache prices follow the public rule from the input rate that applies: 1.25x for a
//!    write of 5 minutes, 2x for one of an hour, 0.1x for a read. Audio, images and reasoning cost what text of their
//!    direction costs. Output, requests and web searches cost nothing.
//!
//! Prices that depend on the hour are not modelled: the book holds the peak price.

#![deny(clippy::float_arithmetic)]

mod book;
mod card;
mod ceiling;
mod export;
mod import;
mod price;
mod read;
mod resolve;
mod shown;
mod wire;

pub use book::{PriceBook, PriceSource, Prices};
pub use ceiling::Bounds;
pub use export::export_yaml;
pub use import::{ImportError, ImportReport, Imported, MAX_IMPORT_BYTES, MAX_MODEL_NAME, Skipped, import};
pub use price::Price;
pub use read::PriceError;
pub use resolve::{Applied, Rates};
pub use shown::AppliedJson;

use crate::dialect::Usage;
use crate::money::Usd;

/// A multiplier of 1.0 in parts per million.
pub const MULTIPLIER_ONE: u32 = 1_000_000;

/// What an answer costs: the formula of this module, with the provider's multiplier in parts per million.
#[must_use]
pub fn cost(price: &Price, usage: &Usage, multiplier_ppm: u32) -> Usd {
    price.applied(usage).cost(usage, multiplier_ppm)
}

#[cfg(test)]
mod tests;
