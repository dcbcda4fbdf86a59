//! A provider that reports the truth never reports more than was set aside, at any price of the built-in list.
//!
//! The provider of these tests knows the request, not the bounds that were read from it.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::pricing::{Prices, import};

static PRICES: LazyLock<Prices> =
    LazyLock::new(|| import(include_str!("../../../../conf/prices.yaml")).unwrap().prices);

/// Images are scaled down to at most so many tokens.
const TOKENS_OF_AN_IMAGE: u64 = 4_784;

/// What a client asks for.
#[derive(Clone, Debug)]
struct Ask {
    path: &'static str,
    /// Bytes of its text.
    text: u64,
    max_tokens: Option<u64>,
    answers: u64,
    images: u64,
    /// Refers to a document elsewhere.
    outside: bool,
    /// Bound on web searches; none when it asks for none.
    searches: Option<u64>,
    cache_for: Option<&'static str>,
    tier: Option<&'static str>,
}

/// What the provider makes of it, in per mille of what it may at most.
#[derive(Clone, Debug)]
struct Spends {
    input: u64,
    output: u64,
    searches: u64,
    /// How the tokens are spread over the kinds.
    input_weights: [u64; 6],
    output_weights: [u64; 4],
    tier: ServiceTier,
    multiplier_ppm: u32,
}

impl Ask {
    fn body(&self) -> String {
        let text = "y".repeat(usize::try_from(self.text).unwrap());
        let mut body = json!({ "model": "m" });
        let parts: Vec<Value> = std::iter::once(self.text_part(&text))
            .chain((0..self.images).map(|_| self.image_part(false)))
            .chain(self.outside.then(|| self.image_part(true)))
            .collect();
        match self.path {
            MESSAGES | CHAT => body["messages"] = json!([{ "role": "user", "content": parts }]),
            RESPONSES => body["input"] = json!([{ "type": "message", "role": "user", "content": parts }]),
            _ => body = json!({ "contents": [{ "role": "user", "parts": parts }], "generationConfig": {} }),
        }
        if let Some(most) = self.max_tokens {
            match self.path {
                MESSAGES | CHAT => body["max_tokens"] = json!(most),
                RESPONSES => body["max_output_tokens"] = json!(most),
                _ => body["generationConfig"]["maxOutputTokens"] = json!(most),
            }
        }
        match self.path {
            CHAT => body["n"] = json!(self.answers),
            GEMINI => body["generationConfig"]["candidateCount"] = json!(self.answers),
            _ => {}
        }
        if let Some(searches) = self.searches() {
            if self.path == MESSAGES {
                body["tools"] = json!([{ "type": "web_search_20250305", "name": "w", "max_uses": searches }]);
            } else {
                body["tools"] = json!([{ "type": "web_search" }]);
                body["max_tool_calls"] = json!(searches);
            }
        }
        if let Some(tier) = self.tier {
            body["service_tier"] = json!(tier);
        }
        body.to_string()
    }

    fn text_part(&self, text: &str) -> Value {
        match self.path {
            GEMINI => json!({ "text": text }),
            RESPONSES => json!({ "type": "input_text", "text": text }),
            CHAT => json!({ "type": "text", "text": text }),
            _ => match self.cache_for {
                Some(ttl) => {
                    json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral", "ttl": ttl } })
                }
                None => json!({ "type": "text", "text": text }),
            },
        }
    }

    fn image_part(&self, elsewhere: bool) -> Value {
        let url = if elsewhere { "https://example.com/a.png" } else { "data:image/png;base64,AAAA" };
        match (self.path, elsewhere) {
            (MESSAGES, true) => json!({ "type": "image", "source": { "type": "url", "url": url } }),
            (MESSAGES, false) => {
                json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } })
            }
            (CHAT, _) => json!({ "type": "image_url", "image_url": { "url": url } }),
            (RESPONSES, _) => json!({ "type": "input_image", "image_url": url }),
            (_, true) => json!({ "fileData": { "fileUri": url } }),
            (_, false) => json!({ "inlineData": { "mimeType": "image/png", "data": "AAAA" } }),
        }
    }

    /// Only two dialects can bound searches.
    fn searches(&self) -> Option<u64> {
        self.searches.filter(|_| matches!(self.path, MESSAGES | RESPONSES))
    }

    /// What a provider with this price reports, and charges.
    fn usage(&self, price: &Price, spends: &Spends) -> Usage {
        let searched = self.searches().unwrap_or(0) * spends.searches / 1_000;
        let passes = searched + 1;
        let sees_outside = self.outside || self.searches().is_some();
        let most_input = if sees_outside {
            price.max_input_tokens.unwrap()
        } else {
            // Each byte of its text a token, and the marks of a few turns. What the model cannot take is refused.
            self.text + 40 + (self.images * TOKENS_OF_AN_IMAGE).min(price.max_input_tokens.unwrap_or(u64::MAX))
        };
        let of_model = price.max_output_tokens.unwrap_or(DEFAULT_OUTPUT);
        let bound = self.max_tokens.unwrap_or(of_model);
        let most_output = match self.path {
            MESSAGES => bound * passes,
            CHAT | GEMINI => bound * self.answers,
            _ => bound,
        };
        let writes_5m =
            self.path == CHAT || self.path == RESPONSES || (self.path == MESSAGES && self.cache_for.is_some());
        let writes_1h = self.path == MESSAGES && self.cache_for == Some("1h");
        let has_media = sees_outside || self.images > 0;
        let [input, cache_read, write_5m, write_1h, image, audio] = spread(
            most_input * passes * spends.input / 1_000,
            spends.input_weights,
            [true, true, writes_5m, writes_1h, has_media, sees_outside],
        );
        let [output, mut reasoning, output_image, output_audio] = spread(
            most_output * spends.output / 1_000,
            spends.output_weights,
            [true, true, self.path == GEMINI, self.path == GEMINI],
        );
        if self.path == CHAT && price.prices_reasoning_apart() && self.max_tokens.is_some() {
            reasoning += of_model * self.answers * spends.output / 1_000;
        }
        Usage {
            input,
            output,
            cache_read,
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            reasoning,
            input_audio: audio,
            output_audio,
            input_image: image,
            output_image,
            web_searches: searched,
            service_tier: spends.tier,
        }
    }
}

const DEFAULT_OUTPUT: u64 = 5_000;

/// Spreads tokens over the kinds that are possible; what the division leaves over is of the first.
fn spread<const N: usize>(tokens: u64, weights: [u64; N], possible: [bool; N]) -> [u64; N] {
    let mut weights = weights;
    for (weight, possible) in weights.iter_mut().zip(possible) {
        *weight *= u64::from(possible);
    }
    let sum: u64 = weights.iter().sum();
    let mut spread = weights.map(|weight| tokens * weight / sum.max(1));
    spread[0] += tokens - spread.iter().sum::<u64>();
    spread
}

fn ask() -> impl Strategy<Value = Ask> {
    let path = prop_oneof![Just(MESSAGES), Just(CHAT), Just(RESPONSES), Just(GEMINI)];
    let text = prop_oneof![0..300_u64, 100_000..400_000_u64];
    let max_tokens = proptest::option::of(1..100_000_u64);
    let media = (prop_oneof![4 => Just(0), 1 => 1..4_u64], proptest::bool::weighted(0.2));
    let searches = prop_oneof![3 => Just(None), 1 => (0..4_u64).prop_map(Some)];
    let cache_for = prop_oneof![Just(None), Just(Some("5m")), Just(Some("1h"))];
    let tier =
        prop_oneof![Just(None), Just(Some("auto")), Just(Some("default")), Just(Some("flex")), Just(Some("priority"))];
    (path, text, max_tokens, 1..4_u64, media, searches, cache_for, tier).prop_map(
        |(path, text, max_tokens, answers, (images, outside), searches, cache_for, tier)| Ask {
            path,
            text,
            max_tokens,
            answers,
            images,
            outside,
            searches,
            cache_for,
            tier,
        },
    )
}

fn spends() -> impl Strategy<Value = Spends> {
    let share = || prop_oneof![Just(1_000), 0..=1_000_u64];
    let weight = || prop_oneof![Just(0), Just(1), Just(1_000_u64)];
    let weights = (proptest::array::uniform6(weight()), proptest::array::uniform4(weight()));
    let tier = prop_oneof![
        Just(ServiceTier::Standard),
        Just(ServiceTier::Priority),
        Just(ServiceTier::Flex),
        Just(ServiceTier::Batch)
    ];
    (share(), share(), share(), weights, tier, prop_oneof![Just(MULTIPLIER_ONE), 1..5_000_000_u32]).prop_map(
        |(input, output, searches, (input_weights, output_weights), tier, multiplier_ppm)| Spends {
            input,
            output,
            searches,
            input_weights,
            output_weights,
            tier,
            multiplier_ppm,
        },
    )
}

/// Checks one request at one price; says whether the request could be bounded.
fn check(ask: &Ask, request: &Inspected, spends: &Spends, name: &str, price: &Price) -> Result<bool, TestCaseError> {
    let mut spends = spends.clone();
    if matches!(ask.tier, Some("default" | "flex")) && spends.tier == ServiceTier::Priority {
        spends.tier = ServiceTier::Standard;
    }
    let Spends { multiplier_ppm, .. } = spends;
    let terms = Terms { price, multiplier_ppm, default_max_output_tokens: DEFAULT_OUTPUT };
    match worst_case(request, &terms) {
        Ok(aside) => {
            if (ask.outside || ask.searches().is_some()) && price.max_input_tokens.is_none() {
                prop_assert!(price.is_free(), "{name}: bounded, but by what?");
                return Ok(false);
            }
            let usage = ask.usage(price, &spends);
            let charged = cost(price, &usage, multiplier_ppm);
            prop_assert!(charged <= aside, "{}: {} charged, {} set aside: {:?}", name, charged, aside, usage);
            Ok(true)
        }
        Err(refusal) => {
            prop_assert!(price.max_input_tokens.is_none(), "{}: {}", name, refusal);
            Ok(false)
        }
    }
}

proptest! {
    #[test]
    fn a_truthful_provider_never_charges_more_than_was_set_aside(ask in ask(), spends in spends()) {
        let request = request(ask.path, &ask.body());
        let mut bounded = 0;
        for (name, price) in PRICES.iter() {
            bounded += u32::from(check(&ask, &request, &spends, name, price)?);
        }
        prop_assert!(bounded > 0);
    }
}
