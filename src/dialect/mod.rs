//! Wire formats: find the model, read the usage, shape errors.

mod usage;

pub use usage::{ServiceTier, Usage};

use serde::{Deserialize, Serialize};

/// The wire format of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// OpenAI Embeddings.
    OpenaiEmbeddings,
    /// Gemini generateContent.
    Gemini,
}

impl Dialect {
    /// The name in the configuration, the database and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiResponses => "openai_responses",
            Self::OpenaiEmbeddings => "openai_embeddings",
            Self::Gemini => "gemini",
        }
    }
}
