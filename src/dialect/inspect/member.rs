//! The members at the top of a request body, and what each means for the gateway.

use super::super::Dialect;
use super::super::conversation::Label;
use super::Endpoint;
use super::place::Place;

/// Members in which a provider that ignores case (Go's parser does) could read something else than we do.
const EXACT_CASE: [&str; 3] = ["model", "stream", "stream_options"];

/// No member that is known has a longer name.
const LONGEST_NAME: usize = 24;

/// A top-level member that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// It is kept as text.
    Keep(Slot),
    /// It is looked into for what its length does not tell.
    Look(Place, &'static str),
    /// It names somebody or something, which costs nothing.
    Label(Label),
    /// Refers to text that is not in the body.
    Outside(&'static str),
    /// Makes the provider run tools.
    ServerTool(&'static str),
    /// Makes the provider go over the prompt once more.
    ExtraPass(&'static str),
    /// Makes the provider explain something to the model.
    Explained(&'static str),
    /// Would make the answer cost something that nobody here could tell.
    Unmetered(&'static str),
    Other,
    Lookalike(&'static str),
}

/// A member that is kept as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Model,
    Stream,
    StreamOptions,
    ServiceTier,
    MaxTokens,
    MaxCompletionTokens,
    N,
    BestOf,
    MaxToolCalls,
    Thinking,
    ThinkingBudget,
    Reasoning,
    Prediction,
    Audio,
    Modalities,
    GenerationConfig,
    Requests,
    GenerateContentRequest,
}

impl Slot {
    pub const COUNT: usize = 18;

    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::ServiceTier => "service_tier",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::N => "n",
            Self::BestOf => "best_of",
            Self::MaxToolCalls => "max_tool_calls",
            Self::Thinking => "thinking",
            Self::ThinkingBudget => "thinking_budget",
            Self::Reasoning => "reasoning",
            Self::Prediction => "prediction",
            Self::Audio => "audio",
            Self::Modalities => "modalities",
            Self::GenerationConfig => "generationConfig",
            Self::Requests => "requests",
            Self::GenerateContentRequest => "generateContentRequest",
        }
    }
}

impl Member {
    /// What a name means; escapes in it have been resolved.
    pub fn of(name: &str, endpoint: Endpoint) -> Self {
        let known = Self::exactly(name, endpoint);
        if known != Self::Other || name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            return known;
        }
        if endpoint.dialect() == Some(Dialect::Gemini) {
            let known = EXACT_CASE.into_iter().find(|known| folded(name).eq(known.chars()));
            return known.map_or(Self::Other, Self::Lookalike);
        }
        let folded: String = folded(name).take(LONGEST_NAME + 1).collect();
        Self::exactly(&folded, endpoint).name().map_or(Self::Other, Self::Lookalike)
    }

    fn exactly(name: &str, endpoint: Endpoint) -> Self {
        let known = match name {
            "model" => Self::Keep(Slot::Model),
            "stream" => Self::Keep(Slot::Stream),
            "stream_options" => Self::Keep(Slot::StreamOptions),
            "service_tier" => Self::Keep(Slot::ServiceTier),
            _ => match endpoint {
                Endpoint::Messages => anthropic(name),
                Endpoint::ChatCompletions => chat(name),
                Endpoint::Responses => responses(name),
                _ if endpoint.dialect() == Some(Dialect::Gemini) => gemini(name, endpoint),
                _ => Self::Other,
            },
        };
        match known {
            Self::Other if endpoint.is_generation() => {
                Place::top(name, endpoint).map_or(Self::Other, |(place, name)| Self::Look(place, name))
            }
            known => known,
        }
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Keep(slot) => Some(slot.name()),
            Self::Look(_, name)
            | Self::Outside(name)
            | Self::ServerTool(name)
            | Self::ExtraPass(name)
            | Self::Explained(name)
            | Self::Unmetered(name)
            | Self::Lookalike(name) => Some(name),
            Self::Label(_) | Self::Other => None,
        }
    }
}

fn anthropic(name: &str) -> Member {
    match name {
        "max_tokens" => Member::Keep(Slot::MaxTokens),
        "thinking" => Member::Keep(Slot::Thinking),
        "mcp_servers" => Member::ServerTool("mcp_servers"),
        "container" => Member::Outside("container"),
        "context_management" => Member::ExtraPass("context_management"),
        "output_format" => Member::Explained("output_format"),
        "output_config" => Member::Explained("output_config"),
        "speed" => Member::Unmetered("speed"),
        "metadata" => Member::Label(Label::Metadata),
        _ => elsewhere(name),
    }
}

fn chat(name: &str) -> Member {
    match name {
        "max_tokens" => Member::Keep(Slot::MaxTokens),
        "max_completion_tokens" => Member::Keep(Slot::MaxCompletionTokens),
        "n" => Member::Keep(Slot::N),
        "best_of" => Member::Keep(Slot::BestOf),
        "thinking" => Member::Keep(Slot::Thinking),
        "thinking_budget" => Member::Keep(Slot::ThinkingBudget),
        "reasoning" => Member::Keep(Slot::Reasoning),
        "prediction" => Member::Keep(Slot::Prediction),
        "audio" => Member::Keep(Slot::Audio),
        "modalities" => Member::Keep(Slot::Modalities),
        "web_search_options" => Member::ServerTool("web_search_options"),
        "search_parameters" => Member::ServerTool("search_parameters"),
        "enable_search" => Member::ServerTool("enable_search"),
        "plugins" => Member::ServerTool("plugins"),
        "data_sources" => Member::ServerTool("data_sources"),
        "prompt_cache_key" => Member::Label(Label::CacheKey),
        "user" => Member::Label(Label::User),
        "functions" => Member::Explained("functions"),
        "response_format" => Member::Explained("response_format"),
        _ => elsewhere(name),
    }
}

fn responses(name: &str) -> Member {
    match name {
        "max_output_tokens" => Member::Keep(Slot::MaxTokens),
        "max_tool_calls" => Member::Keep(Slot::MaxToolCalls),
        "previous_response_id" => Member::Outside("previous_response_id"),
        "conversation" => Member::Outside("conversation"),
        // A stored prompt brings its own text and its own tools.
        "prompt" => Member::ServerTool("prompt"),
        "context_management" => Member::ExtraPass("context_management"),
        "prompt_cache_key" => Member::Label(Label::CacheKey),
        "user" => Member::Label(Label::User),
        "text" => Member::Explained("text"),
        "background" => Member::Unmetered("background"),
        _ => elsewhere(name),
    }
}

fn gemini(name: &str, endpoint: Endpoint) -> Member {
    match name {
        "serviceTier" => Member::Keep(Slot::ServiceTier),
        "generationConfig" | "generation_config" => Member::Keep(Slot::GenerationConfig),
        "cachedContent" | "cached_content" => Member::Outside("cachedContent"),
        "requests" if endpoint == Endpoint::BatchEmbedContents => Member::Keep(Slot::Requests),
        "generateContentRequest" | "generate_content_request" => Member::Keep(Slot::GenerateContentRequest),
        _ => Member::Other,
    }
}

/// Other models in place of the one that is asked for.
fn elsewhere(name: &str) -> Member {
    match name {
        "models" => Member::Unmetered("models"),
        "fallbacks" => Member::Unmetered("fallbacks"),
        _ => Member::Other,
    }
}

/// A name under Unicode simple folding; the only letters outside ASCII that fold into ASCII are `ſ` and the Kelvin sign.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    })
}
