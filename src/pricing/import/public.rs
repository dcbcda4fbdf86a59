//! One entry of LiteLLM's public price list.
//!
//! What it says that is not charged for (prices per second or character, service tiers that no dialect names, regional
//! uplifts, cached audio, off-peak prices) is counted, not lost silently. Where it gives several prices for one thing, the
//! dearest is taken: web searches by context size, off-peak hours, a cache read named twice.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::card::{Card, FEMTO_PER_NANO, Kind};
use super::super::price::{ContextTier, Price, SERVICE_TIERS, Tiered};
use super::super::read::{number, shown};
use super::field::{self, Field};
use crate::dialect::ServiceTier;

/// Kinds of models that are served; an entry that does not say is taken for one.
const MODES: [&str; 4] = ["chat", "responses", "completion", "embedding"];

const TIERED: &str = "tiered_pricing";
const WEB_SEARCH: &str = "search_context_cost_per_query";

/// The scale of a femto-dollar.
const FEMTO_DECIMALS: u32 = 15;

type Fields = Map<String, Value>;

/// Prices by service tier and context threshold (0: flat).
type Cards = BTreeMap<(ServiceTier, u64), Card>;

/// Whether an entry has the public list's fields.
pub fn looks_public(entry: &Value) -> bool {
    let is_public = |name: &String| name == "mode" || name == "litellm_provider" || is_price(name);
    entry.as_object().is_some_and(|fields| fields.keys().any(is_public))
}

/// Reads an entry, and counts in `ignored` what of it is not charged for.
pub fn read(entry: &Value, ignored: &mut BTreeMap<String, usize>) -> Result<Price, String> {
    let fields = entry.as_object().ok_or("the entry is not an object")?;
    let mode = fields.get("mode").and_then(Value::as_str).unwrap_or(MODES[0]);
    if !MODES.contains(&mode) {
        return Err(format!("models of the mode `{}` are not served", shown(mode)));
    }
    let mut reader = Reader::default();
    reader.flat(fields)?;
    reader.ranges(fields)?;
    reader.drop_baseless_cache_tiers();
    reader.check(mode)?;
    for name in reader.ignored {
        *ignored.entry(name).or_default() += 1;
    }
    Ok(price(&reader.cards, tokens(fields, "max_input_tokens")?, tokens(fields, "max_output_tokens")?))
}

#[derive(Default)]
struct Reader {
    cards: Cards,
    ignored: std::collections::BTreeSet<String>,
}

impl Reader {
    fn flat(&mut self, fields: &Fields) -> Result<(), String> {
        for (name, value) in fields.iter().filter(|(name, value)| !value.is_null() && *name != TIERED) {
            if let Some(field) = field::parse(name) {
                self.put(field, femto(name, field.kind, value)?);
            } else if name == WEB_SEARCH {
                self.web_search(value)?;
            } else if is_price(name) {
                self.ignored.insert(name.clone());
            }
        }
        Ok(())
    }

    /// By how much of the web a search puts into the context; answers do not say which it was.
    fn web_search(&mut self, sizes: &Value) -> Result<(), String> {
        let sizes = sizes.as_object().ok_or_else(|| format!("{WEB_SEARCH}: must be an object"))?;
        for (size, value) in sizes.iter().filter(|(_, value)| !value.is_null()) {
            let femto = femto(size, Kind::WebSearch, value)?;
            self.put(Field { kind: Kind::WebSearch, service: ServiceTier::Standard, above: 0 }, femto);
        }
        Ok(())
    }

    /// `tiered_pricing: [{range: [0, 32000], ...}, {range: [32000, 128000], ...}]`.
    fn ranges(&mut self, fields: &Fields) -> Result<(), String> {
        let Some(ranges) = fields.get(TIERED).filter(|ranges| !ranges.is_null()) else { return Ok(()) };
        let ranges = ranges.as_array().ok_or_else(|| format!("{TIERED}: must be a list"))?;
        let mut ranges = ranges.iter().map(range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_by_key(|(start, _)| *start);
        if ranges.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("{TIERED}: two ranges start at the same length"));
        }
        for (place, (start, fields)) in ranges.into_iter().enumerate() {
            // Nothing is free below the first range.
            let above = if place == 0 && self.flat_card(Kind::Input).is_none() { 0 } else { start };
            for (name, value) in fields.iter().filter(|(name, value)| !value.is_null() && *name != "range") {
                match field::parse(name) {
                    Some(field) if field.above == 0 => {
                        self.put(Field { above, ..field }, femto(name, field.kind, value)?);
                    }
                    _ => drop(self.ignored.insert(format!("{TIERED}.{}", shown(name)))),
                }
            }
        }
        Ok(())
    }

    /// A context tier of a cache price without a flat one is not a price: the list has some that are copies of others.
    fn drop_baseless_cache_tiers(&mut self) {
        for kind in [Kind::CacheRead, Kind::CacheWrite5m, Kind::CacheWrite1h] {
            if self.flat_card(kind).is_some() {
                continue;
            }
            for ((service, above), card) in &mut self.cards {
                if *service == ServiceTier::Standard && *above > 0 && card.get(kind).is_some() {
                    card.set(kind, None);
                    self.ignored.insert(format!("{} above {above} tokens without a flat price", kind.field()));
                }
            }
        }
    }

    fn check(&self, mode: &str) -> Result<(), String> {
        if self.flat_card(Kind::Input).is_none() {
            return Err("no price per input token".to_owned());
        }
        if mode != "embedding" && self.flat_card(Kind::Output).is_none() {
            return Err("no price per output token".to_owned());
        }
        if self.cards.values().all(|card| card.iter().all(|(_, femto)| femto == 0)) {
            // The list writes zero for what is free and for what it does not know alike.
            return Err("every price is 0: set one by hand if the model is really free".to_owned());
        }
        Ok(())
    }

    fn flat_card(&self, kind: Kind) -> Option<u64> {
        self.cards.get(&(ServiceTier::Standard, 0))?.get(kind)
    }

    /// Of two prices for the same thing the dearer one stays.
    fn put(&mut self, field: Field, femto: u64) {
        let card = self.cards.entry((field.service, field.above)).or_default();
        card.set(field.kind, card.get(field.kind).max(Some(femto)));
    }
}

fn range(value: &Value) -> Result<(u64, &Fields), String> {
    let fields = value.as_object().ok_or_else(|| format!("{TIERED}: a range must be an object"))?;
    let start = fields.get("range").and_then(Value::as_array).and_then(|range| range.first());
    let start = start.and_then(whole).ok_or_else(|| format!("{TIERED}: a range needs `range: [from, to]`"))?;
    Ok((start, fields))
}

fn price(cards: &Cards, max_input_tokens: Option<u64>, max_output_tokens: Option<u64>) -> Price {
    let tiered = |tier: ServiceTier| {
        let mut tiered = Tiered::default();
        for ((_, above), card) in cards.range((tier, 0)..=(tier, u64::MAX)) {
            match *above {
                0 => tiered.card = *card,
                _ if *card == Card::default() => {}
                above => tiered.contexts.push(ContextTier { above, card: *card }),
            }
        }
        tiered
    };
    let services =
        SERVICE_TIERS.map(|(tier, _)| Some(Box::new(tiered(tier))).filter(|tiered| **tiered != Tiered::default()));
    Price { base: tiered(ServiceTier::Standard), services, max_input_tokens, max_output_tokens }
}

/// A price per unit as the list has it, in femto-dollars: whole pico-dollars per token, whole nano-dollars per call.
fn femto(name: &str, kind: Kind, value: &Value) -> Result<u64, String> {
    let wrong = |what: &str| format!("{}: {what}", shown(name));
    let decimal = number(value).map_err(|error| wrong(&error.to_string()))?;
    // To the nearest femto-dollar first: that takes away the noise of floats such as 3.0000000000000004e-07, and leaves
    // what was really written, of which nothing is given away.
    let femto = decimal.scaled_nearest(FEMTO_DECIMALS).map_err(|error| wrong(&error.to_string()))?;
    let femto = u64::try_from(femto).map_err(|_| wrong("a price cannot be negative, nor that high"))?;
    let femto = femto.div_ceil(kind.step_femto()).saturating_mul(kind.step_femto());
    if femto > kind.max_femto() {
        return Err(wrong(&format!(
            "more than {} USD each is not believed",
            kind.max_femto() / FEMTO_PER_NANO / 1_000_000_000
        )));
    }
    Ok(femto)
}

/// A limit of the model; zero and null say nothing.
fn tokens(fields: &Fields, name: &str) -> Result<Option<u64>, String> {
    match fields.get(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => whole(value)
            .map(|tokens| Some(tokens).filter(|tokens| *tokens > 0))
            .ok_or_else(|| format!("{name}: must be a whole number of tokens")),
    }
}

fn whole(value: &Value) -> Option<u64> {
    let whole = number(value).ok()?.scaled(0).ok()?;
    u64::try_from(whole).ok().filter(|whole| *whole < 1 << 53)
}

/// Whether a field of the list says what something costs.
fn is_price(name: &str) -> bool {
    ["cost", "pricing", "multiplier"].iter().any(|word| name.contains(word)) || name == "provider_specific_entry"
}
