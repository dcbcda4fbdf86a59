//! What an answer used, read from its bytes as they pass.

mod progress;
mod reader;

use std::fmt;

use super::{Dialect, Endpoint, ServiceTier, Usage};
use super::{anthropic, counting, gemini, openai_chat, openai_embeddings, openai_responses};
use reader::{Body, Documents, Stream};

pub(super) use progress::Progress;
pub(super) use reader::Reader;

/// Bytes of text that make a token, where nobody counts them for us.
const BYTES_PER_TOKEN: u64 = 4;

/// Reads one answer of one attempt. Bytes may come in any pieces; what is kept does not grow with the answer.
pub struct Meter {
    endpoint: Endpoint,
    status: u16,
    /// The head announces one document per line.
    json_lines: bool,
    /// Chosen at the first byte that is not white space.
    body: Option<Box<dyn Body>>,
    /// It is a page for people: neither events nor JSON.
    page: bool,
    /// It is one document of JSON.
    document: bool,
    /// It comes in a coding that nobody has asked for.
    packed: bool,
    bytes: u64,
    ended: bool,
}

/// What an answer is, by its first document that tells, or because it ended before one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The model's own words, or a reason for which it has none that lies in the request.
    Answer,
    /// An error, and the status that goes with it.
    Error(u16),
    /// It has ended without a word.
    Wordless,
    /// It has ended without a byte.
    Empty,
    /// A page for people.
    Page,
    /// It has ended within its JSON.
    Torn,
}

/// What an attempt is charged for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The tokens.
    pub usage: Usage,
    /// Whether they are our estimate, because the provider did not say.
    pub estimated: bool,
}

impl Meter {
    /// A meter for the answer to a request of this endpoint with this head.
    #[must_use]
    pub fn new(endpoint: Endpoint, content_type: Option<&str>, status: u16) -> Self {
        Self {
            endpoint,
            status,
            json_lines: is_json_lines(content_type),
            body: None,
            page: false,
            document: false,
            packed: false,
            bytes: 0,
            ended: false,
        }
    }

    /// The answer is packed: it cannot be read, and is taken for one.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.packed = true;
        self
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.packed {
            return;
        }
        let mut bytes = bytes;
        if self.body.is_none() {
            let Some(begin) = bytes.iter().position(|byte| !is_preamble(*byte)) else {
                return;
            };
            bytes = &bytes[begin..];
            self.page = bytes[0] == b'<';
            // A list is how Gemini streams without events: it goes on as it comes.
            self.document = bytes[0] == b'{' && !self.json_lines;
            self.body = self.choose_body(bytes[0]);
        }
        if let Some(body) = &mut self.body {
            body.feed(bytes);
        }
    }

    /// The body has ended as the transport says it should.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// What the provider says was used, as far as it has said it for the answer as a whole. While a stream runs this
    /// may still grow.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.progress().and_then(Progress::usage)
    }

    /// Whether the dialect's own closing event was seen (`[DONE]`, `message_stop`, `response.completed`; for a whole
    /// answer the end of its JSON). Gemini streams of events have none but the end of the body. The bytes that
    /// complete it are the last that were fed, so the answer can be settled before they are passed on.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.progress().map_or(self.ended, |progress| {
            progress.closed || (self.ended && progress.finished && self.endpoint.dialect() == Some(Dialect::Gemini))
        })
    }

    /// Whether the provider reports an error, by status or inside the answer.
    #[must_use]
    pub fn saw_error(&self) -> bool {
        self.status >= 400 || self.progress().is_some_and(|progress| progress.error)
    }

    /// What the answer is: known at the end of the first event that says it, or of the whole answer.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        if self.packed || self.page {
            return Some(if self.page { Verdict::Page } else { Verdict::Answer });
        }
        let Some(progress) = self.progress() else {
            return self.ended.then_some(Verdict::Empty);
        };
        if self.document && self.ended && !progress.closed && !progress.error {
            return Some(Verdict::Torn);
        }
        progress.verdict().or_else(|| (self.ended || progress.closed).then(|| progress.verdict_at_end()))
    }

    /// Whether its end as a document is not enough: only the end of its transport tells that its client can take it.
    #[must_use]
    pub fn is_document_under_way(&self) -> bool {
        self.document && !self.ended
    }

    /// Whether it is no answer: the provider reports an error, or nothing that it should.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.saw_error()
            || matches!(self.verdict(), Some(Verdict::Wordless | Verdict::Empty | Verdict::Page | Verdict::Torn))
    }

    /// Bytes of generated text so far: answer, reasoning, arguments of tool calls.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.progress().map_or(0, |progress| progress.content_bytes)
    }

    /// Bytes of the body so far.
    #[must_use]
    pub fn response_bytes(&self) -> u64 {
        self.bytes
    }

    /// The tier that the provider names; none when it does not.
    #[must_use]
    pub fn service_tier(&self) -> Option<ServiceTier> {
        self.progress().and_then(|progress| progress.tier)
    }

    /// The usage as far as it is known, filled up with an estimate: input from the size of the request, output from
    /// the text that was seen.
    #[must_use]
    pub fn estimate(&self, request_bytes: u64) -> Usage {
        if !self.endpoint.is_generation() {
            return Usage::default();
        }
        let mut usage = self.progress().and_then(Progress::known).unwrap_or_default();
        if usage.input_total() == 0 {
            usage.input = request_bytes.div_ceil(BYTES_PER_TOKEN);
        }
        let seen = self.content_bytes().div_ceil(BYTES_PER_TOKEN);
        usage.output += seen.saturating_sub(usage.output_total());
        usage.service_tier = self.service_tier().unwrap_or(usage.service_tier);
        usage
    }

    /// What to charge if nothing more comes: the provider's own numbers when they are final, else the estimate,
    /// flagged. An error without any answer costs nothing.
    #[must_use]
    pub fn charge(&self, request_bytes: u64) -> Charge {
        if !self.endpoint.is_generation() {
            return Charge::default();
        }
        let progress = self.progress();
        // Text that took no tokens is no report; it would make the answer free.
        let said_something = |usage: &Usage| !usage.has_no_tokens() || self.content_bytes() == 0;
        let reported = progress.filter(|progress| progress.usage_is_final()).and_then(Progress::usage);
        if let Some(usage) = reported.filter(said_something) {
            return Charge { usage, estimated: false };
        }
        let nothing_known = progress.and_then(Progress::known).is_none();
        if nothing_known && self.content_bytes() == 0 && self.has_failed() {
            return Charge::default();
        }
        Charge { usage: self.estimate(request_bytes), estimated: true }
    }

    /// What has been used up to now, for raising a reservation while the answer comes: the provider's last numbers, and
    /// an estimate of what came after them. A few additions; call it as often as you like. Where the provider's numbers
    /// grow, so does this; when they are final, this is them. An estimate that stood in for them may be corrected
    /// downwards.
    #[must_use]
    pub fn running(&self, request_bytes: u64) -> Usage {
        let Charge { usage, estimated } = self.charge(request_bytes);
        let Some(progress) = self.progress().filter(|_| estimated) else {
            return usage;
        };
        let web_searches = usage.web_searches.max(progress.searches);
        let Some(reported) = progress.usage() else {
            return Usage { web_searches, ..usage };
        };
        // The text up to the provider's last word is in it already.
        let since = progress.bytes_since_report().div_ceil(BYTES_PER_TOKEN);
        let output = reported.output.saturating_add(since);
        let input = if reported.input_total() == 0 { usage.input } else { reported.input };
        Usage { input, output, web_searches, ..reported }
    }

    fn progress(&self) -> Option<&Progress> {
        self.body.as_deref().map(Body::progress)
    }

    fn choose_body(&self, first: u8) -> Option<Box<dyn Body>> {
        Some(match self.endpoint {
            endpoint if !endpoint.is_generation() => self.body::<counting::Reading>(first),
            Endpoint::Messages => self.body::<anthropic::Reading>(first),
            Endpoint::ChatCompletions => self.body::<openai_chat::Reading>(first),
            Endpoint::Responses => self.body::<openai_responses::Reading>(first),
            Endpoint::Embeddings => self.body::<openai_embeddings::Reading>(first),
            _ => self.body::<gemini::Reading>(first),
        })
    }

    /// Events, or JSON. The first byte tells better than the head, which some providers get wrong for errors: no line
    /// of an event begins with a bracket, and no JSON of ours with anything else.
    fn body<R: Reader>(&self, first: u8) -> Box<dyn Body> {
        match first {
            b'{' | b'[' => Box::new(Documents::<R>::new(!self.json_lines)),
            _ => Box::new(Stream::<R>::new()),
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("endpoint", &self.endpoint)
            .field("status", &self.status)
            .field("bytes", &self.bytes)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

/// White space, and the byte order mark, which some write before anything.
fn is_preamble(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xEF | 0xBB | 0xBF)
}

fn is_json_lines(content_type: Option<&str>) -> bool {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        media.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;
