//! What an answer used, in the units that are charged.

use serde::{Deserialize, Serialize};

/// What one answer used. **Every token is in exactly one field**: `input` excludes what was read from or written to
/// the cache, audio and images; `output` excludes reasoning, audio and images. So the fields add up to the
/// provider's total, and a price is a plain sum of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Usage {
    /// Text tokens of the prompt that were neither read from nor written to a cache.
    pub input: u64,
    /// Text tokens of the answer, without reasoning.
    pub output: u64,
    /// Prompt tokens read from a cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache that lives 5 minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives 1 hour.
    pub cache_write_1h: u64,
    /// Reasoning ("thinking") tokens that the provider counts apart.
    pub reasoning: u64,
    /// Audio tokens of the prompt.
    pub input_audio: u64,
    /// Audio tokens of the answer.
    pub output_audio: u64,
    /// Image tokens of the prompt.
    pub input_image: u64,
    /// Image tokens of the answer.
    pub output_image: u64,
    /// Calls of the provider's web search.
    pub web_searches: u64,
    /// The tier that the provider says it served the request with.
    pub service_tier: ServiceTier,
}

/// How urgently a provider serves a request; each has its own prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    /// The base prices.
    #[default]
    Standard,
    /// Faster, dearer.
    Priority,
    /// Slower, cheaper.
    Flex,
    /// Asynchronous.
    Batch,
}

impl ServiceTier {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Batch => "batch",
        }
    }

    /// Reads a provider's word, in a request or an answer. None for `auto` and for nothing: that leaves it open.
    #[must_use]
    pub fn from_provider(word: &str) -> Option<Self> {
        // Google spells its enumerations out, and Vertex AI tells the tier by the kind of traffic.
        let word = strip_ignoring_case(word, "service_tier_");
        let word = strip_ignoring_case(word, "on_demand_");
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if word.is_empty() || is("auto") || is("unspecified") {
            None
        } else if is("priority") {
            Some(Self::Priority)
        } else if is("flex") {
            Some(Self::Flex)
        } else if is("batch") {
            Some(Self::Batch)
        } else {
            Some(Self::Standard)
        }
    }
}

fn strip_ignoring_case<'a>(word: &'a str, prefix: &str) -> &'a str {
    match word.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest,
        _ => word,
    }
}

impl Usage {
    /// How many numbers it is made of.
    pub const COUNTS: usize = 11;

    /// The tokens by kind, under the names of metrics.
    #[must_use]
    pub const fn kinds(&self) -> [(&'static str, u64); 10] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
            ("reasoning", self.reasoning),
            ("input_audio", self.input_audio),
            ("output_audio", self.output_audio),
            ("input_image", self.input_image),
            ("output_image", self.output_image),
        ]
    }

    /// Everything but the tier, in the order of the fields.
    #[must_use]
    pub const fn counts(&self) -> [u64; Self::COUNTS] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.reasoning,
            self.input_audio,
            self.output_audio,
            self.input_image,
            self.output_image,
            self.web_searches,
        ]
    }

    /// What has these [`counts`](Self::counts).
    #[must_use]
    pub const fn of_counts(counts: [u64; Self::COUNTS], service_tier: ServiceTier) -> Self {
        let [
            input,
            output,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            reasoning,
            input_audio,
            output_audio,
            input_image,
            output_image,
            web_searches,
        ] = counts;
        Self {
            input,
            output,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            reasoning,
            input_audio,
            output_audio,
            input_image,
            output_image,
            web_searches,
            service_tier,
        }
    }

    /// Tokens of the answer, whatever they are priced at.
    #[must_use]
    pub const fn output_total(&self) -> u64 {
        self.output.saturating_add(self.reasoning).saturating_add(self.output_audio).saturating_add(self.output_image)
    }

    /// Whether it says nothing about tokens.
    #[must_use]
    pub const fn has_no_tokens(&self) -> bool {
        self.input_total() == 0 && self.output_total() == 0
    }

    /// Tokens of the prompt, whatever they are priced at.
    #[must_use]
    pub const fn input_total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.input_audio)
            .saturating_add(self.input_image)
    }
}
