//! The members of a request body that matter, still as text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::conversation::{Label, Opening, Part};
use super::facts::Findings;
use super::look::Look;
use super::member::{Member, Slot};
use super::peek::Peeked;
use super::values::{is_nothing, is_null};
use super::{Endpoint, InspectError};

/// Whether a member that would change the bill is set to what changes nothing.
fn changes_nothing(name: &str, value: &RawValue) -> bool {
    matches!((name, value.get()), (_, "null") | ("background", "false") | ("speed", "\"standard\""))
}

/// The part of a conversation's beginning that a member is.
fn part(name: &str) -> Option<Part> {
    match name {
        "system" | "instructions" | "systemInstruction" => Some(Part::Instructions),
        "tools" => Some(Part::Tools),
        "messages" | "input" | "contents" => Some(Part::Turns),
        _ => None,
    }
}

/// The members that matter, borrowed from the body.
#[derive(Default)]
pub(super) struct Body<'a> {
    kept: [Option<&'a RawValue>; Slot::COUNT],
    pub findings: Findings,
    /// What names somebody or something; of several the last.
    pub labels: [Option<&'a RawValue>; Label::COUNT],
    pub opening: Opening,
    problem: Option<InspectError>,
}

impl<'a> Body<'a> {
    /// Parses and validates all of `text`.
    pub fn parse(text: &'a str, endpoint: Endpoint) -> Result<Self, InspectError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = deserializer.deserialize_map(BodyVisitor { text, endpoint });
        let body = parsed.and_then(|body| deserializer.end().map(|()| body)).map_err(|error| {
            if error.is_data() { InspectError::NotAnObject } else { InspectError::NotJson(error.to_string()) }
        })?;
        match body.problem {
            Some(problem) => Err(problem),
            None => Ok(body),
        }
    }

    /// A member as it is written.
    pub fn get(&self, slot: Slot) -> Option<&'a RawValue> {
        self.kept[slot as usize]
    }

    /// A member that is neither absent nor null.
    pub fn get_set(&self, slot: Slot) -> Option<&'a RawValue> {
        self.get(slot).filter(|raw| !is_null(raw))
    }

    fn put(&mut self, member: Member, value: &'a RawValue, endpoint: Endpoint) {
        let findings = &mut self.findings;
        match member {
            Member::Keep(slot) => {
                let before = self.kept[slot as usize].replace(value);
                if before.is_some() {
                    self.problem.get_or_insert(InspectError::Duplicate(slot.name()));
                }
            }
            Member::Label(label) => self.labels[label as usize] = Some(value),
            Member::Unmetered(name) if !changes_nothing(name, value) => {
                self.problem.get_or_insert(InspectError::Unmetered(name));
            }
            Member::Lookalike(name) => {
                self.problem.get_or_insert(InspectError::Lookalike(name));
            }
            Member::Outside(name) if !is_null(value) => findings.outside(name),
            Member::ServerTool(_) if !is_nothing(value) => findings.server_tool(endpoint),
            Member::ExtraPass(name) if !is_nothing(value) => {
                findings.outside(name);
                findings.facts.extra_passes += 1;
            }
            Member::Explained(_) if !is_nothing(value) => findings.facts.has_tools = true,
            _ => {}
        }
    }
}

/// Every place where a Gemini body may name the model that its path names too.
pub(super) fn named_models<'a>(body: &Body<'a>) -> Result<Vec<&'a RawValue>, InspectError> {
    let mut found: Vec<&RawValue> = body.get(Slot::Model).into_iter().collect();
    for part in [body.get(Slot::GenerateContentRequest), body.get(Slot::Requests)].into_iter().flatten() {
        let mut deserializer = serde_json::Deserializer::from_str(part.get());
        deserializer
            .deserialize_any(Models { found: &mut found })
            .map_err(|error| InspectError::NotJson(error.to_string()))?;
    }
    Ok(found)
}

struct BodyVisitor<'a> {
    text: &'a str,
    endpoint: Endpoint,
}

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
        let Self { text, endpoint } = self;
        let mut body = Body::default();
        while let Some(member) = map.next_key_seed(Key { text, endpoint })? {
            if let Member::Look(_, name) = member.name
                && let Some(part) = part(name)
            {
                body.opening.note(part, member.at);
            }
            match member.name {
                Member::Look(place, _) if !member.is_text() || place.reads_text() => {
                    body.findings.facts.has_tools |= place.is_tool();
                    map.next_value_seed(Look { text, place, findings: &mut body.findings, level: 0 })?;
                }
                Member::Look(..) | Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
                member => body.put(member, map.next_value()?, endpoint),
            }
        }
        Ok(body)
    }
}

/// A member's name; escapes are resolved, so `"mod\u0065l"` is `model`.
struct Key<'a> {
    text: &'a str,
    endpoint: Endpoint,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Peeked<Member>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Peeked<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        let member = Member::of(name, self.endpoint);
        let is_looked_at = matches!(member, Member::Look(..));
        Ok(if is_looked_at { Peeked::within(self.text, name, member) } else { Peeked::unseen(member) })
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Peeked::unseen(Member::of(name, self.endpoint)))
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
        let key = || Key { text: "", endpoint: Endpoint::EmbedContent };
        while let Some(member) = map.next_key_seed(key())? {
            match member.name {
                Member::Keep(Slot::Model) | Member::Lookalike("model") => self.found.push(map.next_value()?),
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
