//! The two nested objects that matter: `stream_options` of a chat request, `generationConfig` of a Gemini request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::values::as_u64;
use super::{InspectError, values};

/// OpenAI's `stream_options`.
pub(super) struct StreamOptions<'a> {
    pub include_usage: Option<&'a RawValue>,
    /// Whether the object has no member at all.
    pub is_empty: bool,
}

impl<'a> StreamOptions<'a> {
    pub fn parse(raw: &'a RawValue) -> Result<Self, InspectError> {
        #[derive(Deserialize)]
        struct Options<'a> {
            #[serde(borrow, default, deserialize_with = "values::present")]
            include_usage: Option<&'a RawValue>,
        }
        const WRONG_TYPE: InspectError = InspectError::WrongType { name: "stream_options", expected: "an object" };

        let Some(inner) = raw.get().strip_prefix('{') else {
            return Err(WRONG_TYPE);
        };
        // The text is valid JSON, so that only a repeated member can fail here.
        let options: Options =
            serde_json::from_str(raw.get()).map_err(|_| InspectError::Duplicate("stream_options.include_usage"))?;
        Ok(Self { include_usage: options.include_usage, is_empty: inner.trim_start().starts_with('}') })
    }
}

/// Gemini's `generationConfig`; a config of another type says nothing.
#[derive(Default)]
pub(super) struct GenerationConfig {
    pub max_output_tokens: Option<u64>,
    pub candidate_count: Option<u64>,
}

impl GenerationConfig {
    pub fn parse(raw: &RawValue) -> Result<Self, InspectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config<'a> {
            #[serde(borrow, default, alias = "max_output_tokens")]
            max_output_tokens: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "candidate_count")]
            candidate_count: Option<&'a RawValue>,
        }

        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        // The text is valid JSON, so that only a repeated member can fail here.
        let config: Config = serde_json::from_str(raw.get())
            .map_err(|_| InspectError::Duplicate("generationConfig.{maxOutputTokens,candidateCount}"))?;
        Ok(Self {
            max_output_tokens: config.max_output_tokens.and_then(as_u64),
            candidate_count: config.candidate_count.and_then(as_u64),
        })
    }
}
