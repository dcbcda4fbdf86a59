//! The members of a request body that matter, still as text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::Dialect;
use super::{Endpoint, InspectError};

/// A top-level member that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Model,
    Stream,
    StreamOptions,
    ServiceTier,
    MaxTokens,
    MaxCompletionTokens,
    N,
    GenerationConfig,
    Requests,
    GenerateContentRequest,
    /// Would make the answer cost something that nobody here could tell.
    Unmetered(&'static str),
    Other,
    Lookalike(&'static str),
}

/// Members in which a provider that ignores case (Go's parser does) could read something else than we do.
const EXACT_CASE: [&str; 3] = ["model", "stream", "stream_options"];

impl Member {
    fn of(name: &str, endpoint: Endpoint) -> Self {
        let gemini = endpoint.dialect() == Some(Dialect::Gemini);
        match name {
            "model" => Self::Model,
            "stream" => Self::Stream,
            "stream_options" => Self::StreamOptions,
            "service_tier" => Self::ServiceTier,
            "serviceTier" if gemini => Self::ServiceTier,
            "max_tokens" if matches!(endpoint, Endpoint::Messages | Endpoint::ChatCompletions) => Self::MaxTokens,
            "max_completion_tokens" if endpoint == Endpoint::ChatCompletions => Self::MaxCompletionTokens,
            "max_output_tokens" if endpoint == Endpoint::Responses => Self::MaxTokens,
            "n" if endpoint == Endpoint::ChatCompletions => Self::N,
            "generationConfig" | "generation_config" if gemini => Self::GenerationConfig,
            "background" if endpoint == Endpoint::Responses => Self::Unmetered("background"),
            "speed" if endpoint == Endpoint::Messages => Self::Unmetered("speed"),
            "models" if is_openai_or_anthropic(endpoint) => Self::Unmetered("models"),
            "fallbacks" if is_openai_or_anthropic(endpoint) => Self::Unmetered("fallbacks"),
            "requests" if endpoint == Endpoint::BatchEmbedContents => Self::Requests,
            "generateContentRequest" | "generate_content_request" if gemini => Self::GenerateContentRequest,
            _ => {
                EXACT_CASE.into_iter().find(|known| same_but_for_case(name, known)).map_or(Self::Other, Self::Lookalike)
            }
        }
    }
}

const fn is_openai_or_anthropic(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Messages | Endpoint::ChatCompletions | Endpoint::Responses)
}

/// Whether a member that would change the bill is set to what changes nothing.
fn changes_nothing(name: &str, value: &RawValue) -> bool {
    matches!((name, value.get()), (_, "null") | ("background", "false") | ("speed", "\"standard\""))
}

/// Equal under Unicode simple folding; the only letters outside ASCII that fold into it are `ſ` and the Kelvin sign.
fn same_but_for_case(name: &str, known: &str) -> bool {
    // A fold changes a letter's length by at most two bytes.
    name.len() <= 3 * known.len()
        && name.chars().map(|c| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() }).eq(known.chars())
}

/// The members that matter, borrowed from the body.
#[derive(Default)]
pub(super) struct Body<'a> {
    pub model: Option<&'a RawValue>,
    pub stream: Option<&'a RawValue>,
    pub stream_options: Option<&'a RawValue>,
    pub service_tier: Option<&'a RawValue>,
    pub max_tokens: Option<&'a RawValue>,
    pub max_completion_tokens: Option<&'a RawValue>,
    pub n: Option<&'a RawValue>,
    pub generation_config: Option<&'a RawValue>,
    requests: Option<&'a RawValue>,
    generate_content_request: Option<&'a RawValue>,
    problem: Option<InspectError>,
}

impl<'a> Body<'a> {
    /// Parses and validates all of `text`.
    pub fn parse(text: &'a str, endpoint: Endpoint) -> Result<Self, InspectError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = deserializer.deserialize_map(BodyVisitor(endpoint));
        let body = parsed.and_then(|body| deserializer.end().map(|()| body)).map_err(|error| {
            if error.is_data() { InspectError::NotAnObject } else { InspectError::NotJson(error.to_string()) }
        })?;
        match body.problem {
            Some(problem) => Err(problem),
            None => Ok(body),
        }
    }

    fn put(&mut self, member: Member, value: &'a RawValue) {
        let (slot, name) = match member {
            Member::Model => (&mut self.model, "model"),
            Member::Stream => (&mut self.stream, "stream"),
            Member::StreamOptions => (&mut self.stream_options, "stream_options"),
            Member::ServiceTier => (&mut self.service_tier, "service_tier"),
            Member::MaxTokens => (&mut self.max_tokens, "max_tokens"),
            Member::MaxCompletionTokens => (&mut self.max_completion_tokens, "max_completion_tokens"),
            Member::N => (&mut self.n, "n"),
            Member::GenerationConfig => (&mut self.generation_config, "generationConfig"),
            Member::Requests => (&mut self.requests, "requests"),
            Member::GenerateContentRequest => (&mut self.generate_content_request, "generateContentRequest"),
            Member::Unmetered(name) => {
                if !changes_nothing(name, value) {
                    self.problem.get_or_insert(InspectError::Unmetered(name));
                }
                return;
            }
            Member::Lookalike(name) => {
                self.problem.get_or_insert(InspectError::Lookalike(name));
                return;
            }
            Member::Other => return,
        };
        if slot.replace(value).is_some() {
            self.problem.get_or_insert(InspectError::Duplicate(name));
        }
    }
}

/// Every place where a Gemini body may name the model that its path names too.
pub(super) fn named_models<'a>(body: &Body<'a>) -> Result<Vec<&'a RawValue>, InspectError> {
    let mut found: Vec<&RawValue> = body.model.into_iter().collect();
    for part in [body.generate_content_request, body.requests].into_iter().flatten() {
        let mut deserializer = serde_json::Deserializer::from_str(part.get());
        deserializer
            .deserialize_any(Models { found: &mut found })
            .map_err(|error| InspectError::NotJson(error.to_string()))?;
    }
    Ok(found)
}

struct BodyVisitor(Endpoint);

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let mut body = Body::default();
        while let Some(member) = map.next_key_seed(Key(self.0))? {
            if member == Member::Other {
                map.next_value::<IgnoredAny>()?;
            } else {
                body.put(member, map.next_value()?);
            }
        }
        Ok(body)
    }
}

/// A member's name; escapes are resolved, so `"mod\u0065l"` is `model`.
struct Key(Endpoint);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(Member::of(name, self.0))
    }
}

/// Collects `model` of an object, or of each object of an array.
struct Models<'f, 'a> {
    found: &'f mut Vec<&'a RawValue>,
}

impl<'de> DeserializeSeed<'de> for Models<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Models<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // A model that is there twice is collected twice: each must be the path's.
        while let Some(member) = map.next_key_seed(Key(Endpoint::EmbedContent))? {
            match member {
                Member::Model | Member::Lookalike("model") => self.found.push(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Models { found: self.found })?.is_some() {}
        Ok(())
    }

    // What is neither object nor array names no model; the provider will say what it thinks of it.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
