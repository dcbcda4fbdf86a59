//! Walks through the parts of a body that matter, while it is parsed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::facts::Findings;
use super::peek::Peeked;
use super::place::{Note, Place, Step};
use super::values::{as_string, as_u64, is_nothing, is_null};

/// Content is not followed deeper than this; what lies below counts as unknown.
const MAX_LEVEL: u8 = 24;

/// Members that are judged together.
type Notes<'a> = [Option<&'a RawValue>; Note::COUNT];

/// Reads the value at a place.
pub(super) struct Look<'f, 'a> {
    /// What is parsed.
    pub text: &'a str,
    pub place: Place,
    pub findings: &'f mut Findings,
    pub level: u8,
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.level < MAX_LEVEL {
            return deserializer.deserialize_any(self);
        }
        self.findings.outside("content that is nested very deep");
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ())
    }
}

impl<'de> Visitor<'de> for Look<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { text, place, findings, level } = self;
        let mut notes = Notes::default();
        let (mut repeated, mut has_content) = (false, false);
        while let Some(member) = map.next_key_seed(Key { text, place })? {
            match member.name {
                Step::Skip => {
                    map.next_value::<IgnoredAny>()?;
                }
                Step::Into(place) => {
                    has_content = true;
                    if member.is_text() && !place.reads_text() {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        map.next_value_seed(Look { text, place, findings, level: level + 1 })?;
                    }
                }
                Step::Note(note) => repeated |= notes[note as usize].replace(map.next_value()?).is_some(),
                Step::Outside(name) => {
                    if !is_null(map.next_value()?) {
                        findings.outside(name);
                    }
                }
                Step::ServerTool => {
                    if !is_nothing(map.next_value()?) {
                        findings.endless_tool();
                    }
                }
                Step::ProviderTool => {
                    map.next_value::<IgnoredAny>()?;
                    findings.facts.provider_tools += 1;
                }
            }
        }
        if place.is_judged() {
            judge(place, &notes, repeated, has_content, findings);
        }
        Ok(())
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { text, place, findings, level } = self;
        while seq.next_element_seed(Look { text, place, findings, level: level + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.place {
            Place::ImageUrl => image(text.starts_with("data:image/"), "image_url", self.findings),
            // The name of a tool in place of its definition.
            place if place.is_tool() => self.findings.endless_tool(),
            _ => {}
        }
        Ok(())
    }

    // What is neither text nor a container holds nothing.
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

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A member's name at a place.
struct Key<'a> {
    text: &'a str,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Peeked<Step>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Peeked<Step>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        let step = self.place.step(name);
        Ok(if matches!(step, Step::Into(_)) { Peeked::within(self.text, name, step) } else { Peeked::unseen(step) })
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Peeked::unseen(self.place.step(name)))
    }
}

/// Judges an object by those of its members that have to be seen together. A member that is there twice says
/// nothing: parsers differ in which of the two they take.
fn judge(place: Place, notes: &Notes<'_>, repeated: bool, has_content: bool, findings: &mut Findings) {
    let note = |note: Note| notes[note as usize].filter(|raw| !is_null(raw));
    match place {
        Place::AnthropicSource | Place::GeminiBlob if note(Note::Data).is_some() => {
            let media = note(Note::Media).and_then(as_string).unwrap_or_default();
            if repeated || !media.starts_with("text/") {
                image(!repeated && media.starts_with("image/"), "a file in the body", findings);
            }
        }
        Place::ImageUrl => {
            // Only the start of a long text: a slash may be escaped.
            let starts =
                |raw: &RawValue| raw.get().starts_with("\"data:image/") || raw.get().starts_with("\"data:image\\/");
            image(!repeated && note(Note::Data).is_some_and(starts), "image_url", findings);
        }
        Place::ResponsesItem => {
            let kind = note(Note::Kind).map(|raw| as_string(raw).unwrap_or_default());
            let is_whole = match kind.as_deref() {
                None | Some("message") => has_content,
                Some("function_call" | "custom_tool_call") => true,
                Some("function_call_output" | "custom_tool_call_output" | "computer_call_output") => has_content,
                Some("reasoning") => note(Note::Encrypted).is_some(),
                Some(_) => false,
            };
            if repeated || !is_whole {
                findings.outside("an item that the provider has stored");
            }
        }
        Place::AnthropicTool | Place::ChatTool | Place::ResponsesTool => tool(place, notes, repeated, findings),
        _ => {}
    }
}

fn tool(place: Place, notes: &Notes<'_>, repeated: bool, findings: &mut Findings) {
    let note = |note: Note| notes[note as usize].filter(|raw| !is_null(raw));
    let kind = note(Note::Kind).map(|raw| as_string(raw).unwrap_or_default());
    let runs_at_provider = match (place, kind.as_deref()) {
        _ if repeated => true,
        (_, None | Some("custom")) | (Place::ChatTool | Place::ResponsesTool, Some("function")) => false,
        (Place::AnthropicTool, Some(kind)) => {
            !["bash_", "text_editor_", "computer_", "memory_"].iter().any(|known| kind.starts_with(known))
        }
        (Place::ResponsesTool, Some(kind)) => {
            !(kind.starts_with("computer") || matches!(kind, "local_shell" | "apply_patch"))
        }
        _ => true,
    };
    if !runs_at_provider {
        findings.facts.provider_tools += u64::from(!matches!(kind.as_deref(), None | Some("custom" | "function")));
        return;
    }
    let searches_web = repeated || kind.is_some_and(|kind| kind.starts_with("web_search"));
    match place {
        Place::AnthropicTool => {
            let limit = note(Note::Limit).and_then(as_u64).filter(|_| !repeated);
            findings.tool_with_limit(limit, searches_web);
        }
        Place::ResponsesTool => findings.shared_tool(searches_web),
        _ => findings.endless_tool(),
    }
}

/// Media: an image in the body, or what only its provider can measure.
fn image(is_inline: bool, name: &'static str, findings: &mut Findings) {
    if is_inline {
        findings.facts.images += 1;
    } else {
        findings.outside(name);
    }
}
