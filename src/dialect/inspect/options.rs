//! The nested objects that matter: `stream_options` of a chat request, `generationConfig` of a Gemini request, and what
//! bounds thinking.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::values::as_count;
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
pub(super) struct GenerationConfig<'a> {
    pub max_output_tokens: Option<u64>,
    pub candidate_count: Option<u64>,
    pub thinking_budget: Option<u64>,
    pub modalities: Option<&'a RawValue>,
    /// Whether the answer must follow a schema.
    pub has_schema: bool,
}

impl<'a> GenerationConfig<'a> {
    pub fn parse(raw: &'a RawValue) -> Result<Self, InspectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config<'a> {
            #[serde(borrow, default, alias = "max_output_tokens")]
            max_output_tokens: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "candidate_count")]
            candidate_count: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "thinking_config")]
            thinking_config: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "response_modalities")]
            response_modalities: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "response_schema")]
            response_schema: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "response_json_schema")]
            response_json_schema: Option<&'a RawValue>,
        }

        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        // The text is valid JSON, so that only a repeated member can fail here.
        let config: Config =
            serde_json::from_str(raw.get()).map_err(|_| InspectError::Duplicate("generationConfig.*"))?;
        Ok(Self {
            max_output_tokens: config.max_output_tokens.and_then(as_count).filter(|tokens| *tokens > 0),
            candidate_count: config.candidate_count.and_then(as_count),
            thinking_budget: config.thinking_config.map(thinking_budget).transpose()?.flatten(),
            modalities: config.response_modalities,
            has_schema: config.response_schema.or(config.response_json_schema).is_some(),
        })
    }
}

/// The budget in a member that configures thinking, under the names that it has in the dialects.
pub(super) fn thinking_budget(raw: &RawValue) -> Result<Option<u64>, InspectError> {
    #[derive(Deserialize)]
    struct Thinking<'a> {
        #[serde(borrow, default, alias = "thinkingBudget", alias = "thinking_budget", alias = "max_tokens")]
        budget_tokens: Option<&'a RawValue>,
    }

    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    // The text is valid JSON, so that only a repeated member can fail here.
    let thinking: Thinking =
        serde_json::from_str(raw.get()).map_err(|_| InspectError::Duplicate("the budget for thinking"))?;
    Ok(thinking.budget_tokens.and_then(as_count))
}

/// Whether a list of modalities names nothing but text.
pub(super) fn is_text_only(modalities: &RawValue) -> bool {
    let modalities: Option<Vec<&str>> = serde_json::from_str(modalities.get()).ok();
    modalities.is_some_and(|list| !list.is_empty() && list.iter().all(|modality| modality.eq_ignore_ascii_case("text")))
}
