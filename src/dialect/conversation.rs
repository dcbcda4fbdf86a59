//! Which conversation a request belongs to: the name that its client gives it, else how it begins.

mod opening;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use opening::Opening;
pub(super) use opening::Part;

/// A longer name is not looked at.
const MAX_NAME: usize = 512;

/// Metadata that is longer is not a client's that names its conversations in it.
const MAX_METADATA: usize = 4 * 1024;

/// Headers in which clients name a conversation, the most exact first: Claude Code's, and Codex's thread and session.
const HEADERS: [&str; 4] = ["x-claude-code-session-id", "thread-id", "session-id", "session_id"];

/// What stands before the conversation in the `metadata.user_id` of Claude Code.
const BEFORE_SESSION: &str = "_session_";

/// A member of a body that names somebody or something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// `prompt_cache_key`.
    CacheKey,
    /// `user`, which names a person.
    User,
    /// `metadata`, with Anthropic's `user_id`.
    Metadata,
}

impl Label {
    pub const COUNT: usize = 3;
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What the client says shares a prompt cache.
    cache_key: Option<String>,
    /// The conversation's own name.
    session: Option<String>,
    /// Who talks.
    person: Option<String>,
    opening: Opening,
}

/// How a conversation is told from the others of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// By this name.
    Named(&'a str),
    /// By how it begins, and by who talks where that is said: one person has many conversations, and some programs
    /// send one person for everything.
    Opening(Opening, Option<&'a str>),
}

impl Conversation {
    /// As the labels of a body say, and as it begins.
    pub(super) fn read(labels: [Option<&RawValue>; Label::COUNT], opening: Opening) -> Self {
        let label = |label: Label| labels[label as usize];
        let mut found = Self {
            cache_key: label(Label::CacheKey).and_then(name),
            session: None,
            person: label(Label::User).and_then(name),
            opening,
        };
        let metadata = label(Label::Metadata).filter(|raw| raw.get().len() <= MAX_METADATA);
        if let Some(metadata) = metadata.and_then(|raw| serde_json::from_str::<Metadata<'_>>(raw.get()).ok()) {
            let person = metadata.user_id.and_then(name);
            found.session = person.as_deref().and_then(session_of).or_else(|| metadata.session_id.and_then(name));
            found.person = found.person.or(person);
        }
        found
    }

    /// How it is told from others. `header` gives the value of a header.
    pub fn identity<'a>(&'a self, header: impl Fn(&'static str) -> Option<&'a str>) -> Identity<'a> {
        let in_header = || HEADERS.into_iter().filter_map(&header).find(|value| is_name(value));
        match self.cache_key.as_deref().or_else(in_header).or(self.session.as_deref()) {
            Some(name) => Identity::Named(name),
            None => Identity::Opening(self.opening, self.person.as_deref()),
        }
    }

    /// Whether something was said before: then a provider may have it in its cache.
    #[must_use]
    pub fn has_past(&self, body: &[u8]) -> bool {
        self.opening.is_followed(body)
    }
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
}

/// What newer versions of Claude Code send in `metadata.user_id`, as text.
#[derive(Deserialize)]
struct Device<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
}

fn session_of(user_id: &str) -> Option<String> {
    let session = if user_id.starts_with('{') {
        serde_json::from_str::<Device<'_>>(user_id).ok()?.session_id.into_owned()
    } else {
        user_id.rsplit_once(BEFORE_SESSION)?.1.to_owned()
    };
    is_name(&session).then_some(session)
}

fn name(raw: &RawValue) -> Option<String> {
    // Escapes make a text longer, at most six times.
    let text = Some(raw.get()).filter(|text| text.starts_with('"') && text.len() <= 6 * MAX_NAME)?;
    serde_json::from_str(text).ok().filter(|name: &String| is_name(name))
}

fn is_name(text: &str) -> bool {
    !text.trim_ascii().is_empty() && text.len() <= MAX_NAME
}
