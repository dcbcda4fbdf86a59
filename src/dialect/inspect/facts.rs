//! What of a request decides how much its answer may cost at most.
//!
//! Where a body leaves room for doubt, the facts say what costs more.

use super::super::{Dialect, Endpoint};

/// What a request's body says about its cost, beyond its length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Something that becomes part of the prompt but is not text in this body: what it is called.
    pub outside: Option<&'static str>,
    /// Images that stand in the body. Their tokens follow from their size in pixels, not in bytes.
    pub images: u64,
    /// Tools or a schema, which providers explain to the model in words of their own.
    pub has_tools: bool,
    /// Tools that the client runs but the provider describes (a shell, an editor, a computer).
    pub provider_tools: u64,
    /// Tools that the provider runs while it answers.
    pub calls: ToolCalls,
    /// Further passes over the prompt that have nothing to do with tools.
    pub extra_passes: u64,
    /// What the request may write to the provider's prompt cache.
    pub cache_writes: CacheWrites,
    /// The answer may be served with priority: it is asked for, or the choice is left to the provider.
    pub may_be_priority: bool,
    /// The answer may hold audio.
    pub output_audio: bool,
    /// The answer may hold images.
    pub output_image: bool,
    /// Output tokens that are billed outside the bound on output: thinking with a budget of its own, predictions.
    pub beside_output: u64,
    /// Whether the request bounds its thinking apart from its output.
    pub bounds_thinking: bool,
}

/// Calls of tools that the provider runs while it answers. Each adds what it found to the prompt, and one more pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolCalls {
    /// There are no such tools.
    #[default]
    None,
    /// The request bounds them.
    AtMost {
        /// Of any tool.
        calls: u64,
        /// Of a web search that is charged for.
        searches: u64,
    },
    /// The request does not bound them.
    Unstated(&'static str),
}

/// What a request may write to the provider's prompt cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheWrites {
    /// Nothing.
    #[default]
    None,
    /// For five minutes, which is also what a provider that caches unasked is charged as.
    FiveMinutes,
    /// For an hour, or for five minutes.
    OneHour,
}

/// The facts as they are gathered.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub facts: Facts,
    /// A tool that the provider runs, under the request's common bound on calls.
    pub shared_tool: bool,
    /// One of those searches the web.
    pub shared_search: bool,
}

impl Findings {
    /// The prompt is more than the body.
    pub fn outside(&mut self, name: &'static str) {
        self.facts.outside.get_or_insert(name);
    }

    /// A tool that has its own bound on calls; none when it states none.
    pub fn tool_with_limit(&mut self, limit: Option<u64>, searches_web: bool) {
        self.outside("a server-side tool");
        let Some(limit) = limit else {
            self.facts.calls =
                ToolCalls::Unstated("set `max_uses` on each server-side tool, and leave out those without");
            return;
        };
        let more = ToolCalls::AtMost { calls: limit, searches: if searches_web { limit } else { 0 } };
        self.facts.calls = match (self.facts.calls, more) {
            (ToolCalls::None, more) => more,
            (ToolCalls::AtMost { calls, searches }, ToolCalls::AtMost { calls: more, searches: more_searches }) => {
                ToolCalls::AtMost {
                    calls: calls.saturating_add(more),
                    searches: searches.saturating_add(more_searches),
                }
            }
            (unstated, _) => unstated,
        };
    }

    /// A tool under the request's common bound.
    pub fn shared_tool(&mut self, searches_web: bool) {
        self.outside("a server-side tool");
        self.shared_tool = true;
        self.shared_search |= searches_web;
    }

    /// A tool that nothing can bound.
    pub fn endless_tool(&mut self) {
        self.outside("a server-side tool");
        self.facts.calls = ToolCalls::Unstated("leave server-side tools out: this API has no bound on their calls");
    }

    /// A tool that the provider runs, in a dialect whose way to bound it is known.
    pub fn server_tool(&mut self, endpoint: Endpoint) {
        match endpoint.dialect() {
            Some(Dialect::OpenaiResponses) => self.shared_tool(true),
            Some(Dialect::Anthropic) => self.tool_with_limit(None, true),
            _ => self.endless_tool(),
        }
    }

    /// The request's common bound on calls, known when the whole body has been read.
    pub fn bound_shared_tools(&mut self, limit: Option<u64>) {
        if !self.shared_tool {
            return;
        }
        self.facts.calls = match limit {
            Some(calls) => ToolCalls::AtMost { calls, searches: if self.shared_search { calls } else { 0 } },
            None => ToolCalls::Unstated("set `max_tool_calls`"),
        };
    }
}
