//! What the gateway has to know of a request body, found in one validating pass that copies nothing.

mod body;
mod bounds;
mod depth;
mod facts;
mod look;
mod member;
mod options;
mod peek;
mod place;
mod values;

pub use facts::{CacheWrites, Facts, ToolCalls};

use std::borrow::Cow;
use std::ops::Range;

use super::routing::MAX_MODEL_BYTES;
use super::{Conversation, Dialect, Endpoint, ErrorCode, GatewayError, Route, ServiceTier};
use body::{Body, named_models};
use member::Slot;
use options::{GenerationConfig, StreamOptions};
use values::{as_bool, as_string, is_null};

/// The deepest nesting of arrays and objects that is passed on. Parsers behind us give up somewhere above 100, some
/// of them by crashing.
pub(super) const MAX_DEPTH: usize = 128;

/// What a request asks for, and where its body must be touched before it goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The endpoint that it was read for.
    pub endpoint: Endpoint,
    /// The model that the client names.
    pub model: String,
    /// Whether the answer shall be a stream.
    pub stream: bool,
    /// Whether the client itself asked for the usage chunk of a chat stream. When it did not, the gateway takes the
    /// chunk out of the answer again.
    pub include_usage: bool,
    /// The tier that the client asks for; none when it leaves the choice to the provider.
    pub service_tier: Option<ServiceTier>,
    /// The client's bound on output tokens (per candidate).
    pub max_output_tokens: Option<u64>,
    /// How many answers are asked for; at least 1.
    pub candidates: u64,
    /// What else decides how much the answer may cost.
    pub facts: Facts,
    /// Which conversation it belongs to.
    pub conversation: Conversation,
    /// Length of the body that was inspected; the edits below are valid for no other.
    pub(super) body_len: usize,
    /// Where the body spells the model, in order.
    pub(super) model_spans: Vec<ModelSpan>,
    /// What to change so that a chat stream reports its usage.
    pub(super) usage_edit: Option<Edit>,
}

/// One place of a body that holds the model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelSpan {
    /// The JSON string, with its quotes.
    pub range: Range<usize>,
    /// Whether the name is spelled as Google's resource, `models/NAME`.
    pub resource: bool,
}

/// One change of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// What goes.
    pub range: Range<usize>,
    /// What comes.
    pub text: Cow<'static, str>,
}

/// Why a body is refused. Every message is meant for the client's eyes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// Nothing was sent.
    #[error("the request body is empty; send a JSON object")]
    Empty,
    /// A byte order mark.
    #[error("the request body starts with a byte order mark; send plain UTF-8")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("the request body is not valid UTF-8 (at byte {at})")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Not JSON.
    #[error("the request body is not valid JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// Nested too deep.
    #[error("the request body is nested too deep; the limit is {MAX_DEPTH} levels")]
    TooDeep,
    /// The same member twice. Which of them counts differs from parser to parser, so neither does.
    #[error("the request body has `{0}` more than once")]
    Duplicate(&'static str),
    /// A member that some parsers take for a known one.
    #[error("the request body spells `{0}` in another case; some providers would take it for the real one")]
    Lookalike(&'static str),
    /// A member that would make the answer cost what the gateway cannot tell: work that goes on after the answer, a
    /// dearer mode that has no price here, another model in place of the one that is asked for.
    #[error("`{0}` is not supported: what it makes the answer cost would not be known; leave it out")]
    Unmetered(&'static str),
    /// No model.
    #[error("the request body has no `model`; name the model to use")]
    NoModel,
    /// The model is not a string.
    #[error("`model` must be a string")]
    ModelNotString,
    /// The model cannot be a name.
    #[error("`model` must have 1 to {MAX_MODEL_BYTES} bytes and no control characters")]
    InvalidModel,
    /// Path and body name different models.
    #[error("the body names the model `{body}`, the path `{path}`; they must be the same")]
    ModelMismatch {
        /// In the body.
        body: String,
        /// In the path.
        path: String,
    },
    /// A member of the wrong type.
    #[error("`{name}` must be {expected}")]
    WrongType {
        /// The member.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl Inspected {
    /// Bytes of the body.
    #[must_use]
    pub const fn body_bytes(&self) -> u64 {
        self.body_len as u64
    }
}

impl InspectError {
    /// As the client is told.
    #[must_use]
    pub fn to_gateway_error(&self) -> GatewayError {
        GatewayError::new(ErrorCode::InvalidRequest, self.to_string())
    }
}

/// Reads what the gateway needs from a request body. The body is validated as a whole: what passes is one JSON
/// object, and no provider can read another model from it than we did.
pub fn inspect(route: &Route, body: &[u8]) -> Result<Inspected, InspectError> {
    let text = as_text(body)?;
    let mut found = Body::parse(text, route.endpoint)?;
    depth::check(body)?;
    let base = Base(text.as_ptr() as usize);
    let stream = match route.endpoint {
        Endpoint::StreamGenerateContent => true,
        Endpoint::Messages | Endpoint::ChatCompletions | Endpoint::Responses => as_bool(found.get(Slot::Stream))
            .ok_or(InspectError::WrongType { name: "stream", expected: "true or false" })?,
        _ => false,
    };
    let (model, model_spans) = find_model(route, &found, base)?;
    let (include_usage, usage_edit) = match route.endpoint {
        Endpoint::ChatCompletions if stream => usage_request(&found, base, text)?,
        _ => (false, None),
    };
    let generation = found.get(Slot::GenerationConfig).map(GenerationConfig::parse).transpose()?.unwrap_or_default();
    Ok(Inspected {
        endpoint: route.endpoint,
        model,
        stream,
        include_usage,
        service_tier: found
            .get(Slot::ServiceTier)
            .and_then(as_string)
            .and_then(|tier| ServiceTier::from_provider(&tier)),
        max_output_tokens: bounds::output(&found, route.endpoint, &generation),
        candidates: bounds::candidates(&found, &generation),
        facts: bounds::facts(&mut found, route.endpoint, &generation, text)?,
        conversation: Conversation::read(found.labels, found.opening),
        body_len: body.len(),
        model_spans,
        usage_edit,
    })
}

/// Where the body begins in memory; turns a borrowed part into its range.
#[derive(Clone, Copy)]
struct Base(usize);

impl Base {
    fn range_of(self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.0;
        start..start + part.len()
    }
}

fn as_text(body: &[u8]) -> Result<&str, InspectError> {
    if body.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return Err(InspectError::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).map_err(|error| InspectError::NotUtf8 { at: error.valid_up_to() })?;
    if text.trim_ascii().is_empty() { Err(InspectError::Empty) } else { Ok(text) }
}

fn find_model(route: &Route, found: &Body<'_>, base: Base) -> Result<(String, Vec<ModelSpan>), InspectError> {
    let Some(path_model) = &route.path_model else {
        let raw = found.get(Slot::Model).ok_or(InspectError::NoModel)?;
        let model = valid_model(as_string(raw).ok_or(InspectError::ModelNotString)?)?;
        let span = ModelSpan { range: base.range_of(raw.get()), resource: false };
        return Ok((model, vec![span]));
    };
    let mut spans = Vec::new();
    for raw in named_models(found)? {
        if is_null(raw) {
            continue;
        }
        let spelled = as_string(raw).ok_or(InspectError::ModelNotString)?;
        let name = spelled.strip_prefix("models/").unwrap_or(&spelled);
        if name != path_model {
            return Err(InspectError::ModelMismatch { body: excerpt(name), path: path_model.clone() });
        }
        spans.push(ModelSpan { range: base.range_of(raw.get()), resource: spelled.len() != name.len() });
    }
    spans.sort_by_key(|span| span.range.start);
    Ok((path_model.clone(), spans))
}

fn valid_model(model: Cow<'_, str>) -> Result<String, InspectError> {
    let valid = !model.is_empty() && model.len() <= MAX_MODEL_BYTES && !model.chars().any(char::is_control);
    if valid { Ok(model.into_owned()) } else { Err(InspectError::InvalidModel) }
}

/// Whether the client asked for the usage chunk, and what to change when it did not.
fn usage_request(found: &Body<'_>, base: Base, text: &str) -> Result<(bool, Option<Edit>), InspectError> {
    let insert = |at: usize, text: &'static str| Edit { range: at..at, text: Cow::Borrowed(text) };
    let Some(raw) = found.get(Slot::StreamOptions) else {
        // The object has a member already (the model), so the comma is right.
        let at = text.find('{').map_or(0, |brace| brace + 1);
        return Ok((false, Some(insert(at, r#""stream_options":{"include_usage":true},"#))));
    };
    let range = base.range_of(raw.get());
    if is_null(raw) {
        return Ok((false, Some(Edit { range, text: Cow::Borrowed(r#"{"include_usage":true}"#) })));
    }
    let options = StreamOptions::parse(raw)?;
    let edit = match options.include_usage {
        Some(value) if as_bool(Some(value)) == Some(true) => return Ok((true, None)),
        Some(value) => Edit { range: base.range_of(value.get()), text: Cow::Borrowed("true") },
        None if options.is_empty => insert(range.start + 1, r#""include_usage":true"#),
        None => insert(range.start + 1, r#""include_usage":true,"#),
    };
    Ok((false, Some(edit)))
}

/// Enough of a client's text to recognise it in a message.
fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod facts_tests;
#[cfg(test)]
mod tests;
