//! Reads a [`Price`] from JSON or YAML: every mistake is found, each with its path.

use std::fmt::Write;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use thiserror::Error;

use super::card::{Card, Kind};
use super::price::{ContextTier, Price, SERVICE_TIERS, Tiered};
use crate::money::{Decimal, DecimalError};

const CONTEXT_TIERS: &str = "contextTiers";
const ABOVE_TOKENS: &str = "aboveTokens";
const SERVICES: &str = "serviceTiers";
const MAX_INPUT: &str = "maxInputTokens";
const MAX_OUTPUT: &str = "maxOutputTokens";

/// More context tiers than any provider has.
const MAX_CONTEXT_TIERS: usize = 32;

/// Numbers of tokens stay where JSON is exact everywhere.
const MAX_TOKENS: u64 = (1 << 53) - 1;

/// How much of an unknown field's name is repeated.
const SHOWN_NAME: usize = 60;

/// One mistake in a price.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{message}", path, if path.is_empty() { "" } else { ": " })]
pub struct PriceError {
    /// Where: `contextTiers[0].inputUsdPerMillion`; empty for the price itself.
    pub path: String,
    /// What is wrong, and what is right.
    pub message: String,
}

impl Price {
    /// Reads and validates a price.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_value(value: &Value) -> Result<Self, Vec<PriceError>> {
        let mut reader = Reader::default();
        let price = reader.price(value);
        match price {
            Some(price) if reader.errors.is_empty() => Ok(price),
            _ => Err(reader.errors),
        }
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(|errors| de::Error::custom(joined(&errors)))
    }
}

/// Mistakes as one text.
pub fn joined(errors: &[PriceError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[derive(Default)]
struct Reader {
    path: String,
    errors: Vec<PriceError>,
}

impl Reader {
    fn price(&mut self, value: &Value) -> Option<Price> {
        let fields = self.object(value)?;
        let (mut price, mut known) = (
            Price {
                base: Tiered::default(),
                services: [None, None, None],
                max_input_tokens: None,
                max_output_tokens: None,
            },
            vec![CONTEXT_TIERS, SERVICES, MAX_INPUT, MAX_OUTPUT],
        );
        price.base = self.tiered(fields);
        price.max_input_tokens = self.field(fields, MAX_INPUT, Self::tokens);
        price.max_output_tokens = self.field(fields, MAX_OUTPUT, Self::tokens);
        if let Some(services) = self.field(fields, SERVICES, Self::services) {
            price.services = services;
        }
        self.refuse_unknown(fields, &mut known);
        if [Kind::Input, Kind::Request].iter().all(|kind| !is_set(fields, kind.field())) {
            self.error("a price needs inputUsdPerMillion, or requestUsd for a model that is paid by the request");
        }
        Some(price)
    }

    fn services(&mut self, value: &Value) -> Option<[Option<Box<Tiered>>; SERVICE_TIERS.len()]> {
        let fields = self.object(value)?;
        let services = SERVICE_TIERS.map(|(_, name)| {
            self.field(fields, name, |reader, value| {
                let fields = reader.object(value)?;
                let tiered = reader.tiered(fields);
                reader.refuse_unknown(fields, &mut vec![CONTEXT_TIERS]);
                Some(Box::new(tiered))
            })
        });
        for name in fields.keys().filter(|name| SERVICE_TIERS.iter().all(|(_, known)| known != name)) {
            self.at(&format!(".{}", shown(name)), |reader| {
                reader.error("unknown service tier: priority, flex or batch")
            });
        }
        Some(services)
    }

    fn tiered(&mut self, fields: &Map<String, Value>) -> Tiered {
        let card = self.card(fields);
        Tiered { card, contexts: self.field(fields, CONTEXT_TIERS, Self::contexts).unwrap_or_default() }
    }

    fn contexts(&mut self, value: &Value) -> Option<Vec<ContextTier>> {
        let Value::Array(items) = value else {
            self.error("must be a list of {aboveTokens, ...prices}");
            return None;
        };
        if items.len() > MAX_CONTEXT_TIERS {
            self.error(&format!("at most {MAX_CONTEXT_TIERS} context tiers"));
            return None;
        }
        let mut tiers: Vec<ContextTier> = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            self.at(&format!("[{place}]"), |reader| {
                let Some(tier) = reader.context(item) else { return };
                if tiers.iter().any(|other| other.above == tier.above) {
                    reader.at(".aboveTokens", |reader| reader.error("another tier has the same threshold"));
                }
                tiers.push(tier);
            });
        }
        tiers.sort_by_key(|tier| tier.above);
        Some(tiers)
    }

    fn context(&mut self, value: &Value) -> Option<ContextTier> {
        let fields = self.object(value)?;
        let card = self.card(fields);
        self.refuse_unknown(fields, &mut vec![ABOVE_TOKENS]);
        if !is_set(fields, ABOVE_TOKENS) {
            self.error("a context tier needs aboveTokens");
        }
        Some(ContextTier { above: self.field(fields, ABOVE_TOKENS, Self::tokens)?, card })
    }

    fn card(&mut self, fields: &Map<String, Value>) -> Card {
        let mut card = Card::default();
        for kind in Kind::ALL {
            card.set(kind, self.field(fields, kind.field(), |reader, value| reader.femto(kind, value)));
        }
        card
    }

    fn femto(&mut self, kind: Kind, value: &Value) -> Option<u64> {
        let step = kind.step_femto();
        let decimals = if kind.is_tokens() { 6 } else { 9 };
        let most = kind.shown(kind.max_femto());
        let read = number(value).and_then(|decimal| decimal.scaled(decimals));
        let read = read.map(|steps| u64::try_from(steps).ok().and_then(|steps| steps.checked_mul(step)));
        let message = match read {
            Ok(Some(femto)) if femto <= kind.max_femto() => return Some(femto),
            Ok(_) | Err(DecimalError::OutOfRange) => format!("must be a price in USD from 0 to {most}"),
            Err(DecimalError::TooPrecise) => format!("at most {decimals} decimals"),
            Err(DecimalError::NotANumber) => "must be a number of USD".to_owned(),
        };
        self.error(&message);
        None
    }

    fn tokens(&mut self, value: &Value) -> Option<u64> {
        let tokens =
            number(value).and_then(|decimal| decimal.scaled(0)).ok().and_then(|tokens| u64::try_from(tokens).ok());
        let tokens = tokens.filter(|tokens| (1..=MAX_TOKENS).contains(tokens));
        if tokens.is_none() {
            self.error("must be a whole number of tokens, at least 1");
        }
        tokens
    }

    fn object<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let fields = value.as_object();
        if fields.is_none() {
            self.error("must be an object");
        }
        fields
    }

    /// Reads a field that is set; `null` is as good as left out.
    fn field<T>(
        &mut self,
        fields: &Map<String, Value>,
        name: &str,
        read: impl FnOnce(&mut Self, &Value) -> Option<T>,
    ) -> Option<T> {
        let value = fields.get(name).filter(|value| !value.is_null())?;
        self.at(&format!(".{name}"), |reader| read(reader, value))
    }

    /// `known` are the names beside those of a card.
    fn refuse_unknown(&mut self, fields: &Map<String, Value>, known: &mut Vec<&str>) {
        known.extend(Kind::ALL.map(Kind::field));
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            self.at(&format!(".{}", shown(name)), |reader| reader.error("unknown field"));
        }
    }

    fn at<T>(&mut self, segment: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        let _ = write!(self.path, "{segment}");
        let read = read(self);
        self.path.truncate(length);
        read
    }

    fn error(&mut self, message: &str) {
        let path = self.path.trim_start_matches('.').to_owned();
        self.errors.push(PriceError { path, message: message.to_owned() });
    }
}

/// A JSON number as the decimal that its author wrote: the shortest text that reads back as the same double.
pub fn number(value: &Value) -> Result<Decimal, DecimalError> {
    match value {
        Value::Number(number) => Decimal::parse(&number.to_string()),
        _ => Err(DecimalError::NotANumber),
    }
}

/// A name from outside, short enough to repeat.
pub fn shown(name: &str) -> String {
    name.chars().take(SHOWN_NAME).collect()
}

fn is_set(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}
