//! Wire formats: where a request goes, what it asks for, what its answer used, and how we speak back.
//!
//! Pure: no I/O, no clock, no async. The gateway hands bytes in and takes decisions out.

mod anthropic;
mod complaint;
mod conversation;
mod counting;
mod error;
mod gemini;
mod inspect;
mod meter;
mod models;
mod openai_chat;
mod openai_embeddings;
mod openai_responses;
mod openai_usage;
mod rewrite;
mod routing;
mod scan;
mod usage;
mod usage_chunk;

pub use conversation::{Conversation, Identity, Opening};
pub use error::{Amounts, ErrorCode, GatewayError, LimitHeaders, error_body};
pub use inspect::{CacheWrites, Facts, InspectError, Inspected, ToolCalls, inspect};
pub use meter::{Charge, Meter, Verdict};
pub use models::{ModelEntry, model, model_list};
pub use rewrite::rewrite;
pub use routing::{ClientHints, Endpoint, Route, RouteError, RouteProblem, query_credentials, route};
pub use usage::{ServiceTier, Usage};
pub use usage_chunk::UsageChunkFilter;

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

    /// Whose conventions its errors and lists follow.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::Anthropic => Shape::Anthropic,
            Self::OpenaiChat | Self::OpenaiResponses | Self::OpenaiEmbeddings => Shape::Openai,
            Self::Gemini => Shape::Gemini,
        }
    }
}

/// Whose conventions a client expects in errors and model lists; the three OpenAI dialects share theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's.
    Openai,
    /// Google's.
    Gemini,
}
