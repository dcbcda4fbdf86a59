//! From a price and what was used to the rates that apply, and from those to the cost.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::card::Kind;
use super::price::{Price, Step, Tiered};
use crate::dialect::{ServiceTier, Usage};
use crate::money::Usd;

/// In a cost: femto-dollars times parts per million (1e-21 USD) that make a pico-dollar.
const PARTS_PER_PICO: i128 = 1_000_000_000;

/// The rates that apply to one request, each settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates([u64; Kind::COUNT]);

/// The price that was applied to one request, as it is kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The service tier whose prices were used; `standard` where the price has none for the one that served.
    pub service_tier: ServiceTier,
    /// The highest context threshold that decided a rate; none when all are flat.
    pub context_above_tokens: Option<u64>,
    /// The rates.
    pub rates: Rates,
}

impl Price {
    /// The rates for what was used. Allocates nothing.
    #[must_use]
    pub fn applied(&self, usage: &Usage) -> Applied {
        let service = self.service(usage.service_tier);
        let input_tokens = usage.input_total();
        let steps = Kind::ALL.map(|kind| step(&self.base, service, kind, input_tokens));
        Applied {
            service_tier: if service.is_some() { usage.service_tier } else { ServiceTier::Standard },
            context_above_tokens: steps.iter().flatten().filter_map(|step| step.above).max(),
            rates: Rates::settled(&steps),
        }
    }
}

impl Applied {
    /// What so much costs at these rates, with the provider's multiplier in parts per million.
    #[must_use]
    pub fn cost(&self, usage: &Usage, multiplier_ppm: u32) -> Usd {
        let femto = Kind::ALL
            .into_iter()
            .map(|kind| i128::from(self.rates.get(kind)).saturating_mul(i128::from(kind.units(usage))))
            .fold(0, i128::saturating_add);
        let parts = femto.saturating_mul(i128::from(multiplier_ppm));
        // Rounding up to a pico-dollar and then to a nano-dollar is rounding up once to a nano-dollar.
        Usd::from_pico_ceil(parts.saturating_add(PARTS_PER_PICO - 1) / PARTS_PER_PICO)
    }
}

impl Rates {
    /// Fills what is left out everywhere (rule 3 of the module).
    fn settled(steps: &[Option<Step>; Kind::COUNT]) -> Self {
        let set = |kind: Kind| steps[kind as usize].map(|step| step.femto);
        let text = [set(Kind::Input).unwrap_or(0), set(Kind::Output).unwrap_or(0)];
        Self(Kind::ALL.map(|kind| set(kind).unwrap_or_else(|| left_out(kind, text))))
    }

    pub(super) const fn get(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }
}

/// As in a price: USD per million tokens or per call, every field.
impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Kind::COUNT))?;
        for kind in Kind::ALL {
            map.serialize_entry(kind.field(), &kind.shown(self.get(kind)))?;
        }
        map.end()
    }
}

/// Service tier against base (rule 2 of the module).
fn step(base: &Tiered, service: Option<&Tiered>, kind: Kind, input_tokens: u64) -> Option<Step> {
    let of_base = base.step(kind, input_tokens);
    let Some((service, own)) = service.and_then(|service| Some((service, service.step(kind, input_tokens)?))) else {
        return of_base;
    };
    let long = of_base.filter(|step| step.above.is_some() && service.contexts.is_empty());
    Some(long.filter(|long| long.femto > own.femto).unwrap_or(own))
}

/// The rate of what no price names, from the rates of text.
fn left_out(kind: Kind, [input, output]: [u64; 2]) -> u64 {
    match kind {
        Kind::CacheRead => input.div_ceil(10),
        Kind::CacheWrite5m => input.saturating_add(input.div_ceil(4)),
        Kind::CacheWrite1h => input.saturating_mul(2),
        Kind::InputAudio | Kind::InputImage => input,
        Kind::OutputAudio | Kind::OutputImage | Kind::Reasoning => output,
        Kind::Input | Kind::Output | Kind::Request | Kind::WebSearch => 0,
    }
}
