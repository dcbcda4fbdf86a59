//! Globs on model names.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, text};

const LONGEST: usize = 256;

/// A glob on a model's name. `*` matches `/` too: in a model's name it is a letter like any other.
#[derive(Clone)]
pub struct ModelGlob(GlobMatcher);

impl ModelGlob {
    /// Whether the model's name fits.
    #[must_use]
    pub fn is_match(&self, model: &str) -> bool {
        self.0.is_match(model)
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl PartialEq for ModelGlob {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ModelGlob {}

impl fmt::Debug for ModelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for ModelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

derive_from_notation!(all: ModelGlob);

impl Notation for ModelGlob {
    type Target = Self;

    const NAME: &'static str = "ModelGlob";

    fn definition() -> Schema {
        json_schema!({
            "description": "A model's name, in which * stands for anything, ? for one character, [ab] for one of \
                            these and {a,b} for one of those.",
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST,
            "examples": ["claude-*", "gpt-4o", "{o3,o4}-*"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        if text.is_empty() {
            return Err("is empty: write a model's name, or * for any".to_owned());
        }
        if text.chars().count() > LONGEST {
            return Err(format!("is longer than {LONGEST} characters"));
        }
        GlobBuilder::new(text)
            .literal_separator(false)
            .build()
            .map(|glob| Self(glob.compile_matcher()))
            .map_err(|error| format!("is not a valid glob: {}", error.kind()))
    }

    fn write(target: &Self) -> Value {
        Value::from(target.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_glob_matches_whole_names_with_their_case_and_slashes() {
        let glob = |text: &str| ModelGlob::read(&json!(text)).unwrap();
        assert!(glob("claude-*").is_match("claude-sonnet-4-5"));
        assert!(!glob("claude-*").is_match("Claude-sonnet"));
        assert!(!glob("claude").is_match("claude-3"));
        assert!(glob("*").is_match("meta-llama/Llama-3-70B"));
        assert!(glob("{o3,o4}-*").is_match("o4-mini"));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for value in [json!("claude-[a"), json!("{a"), json!("a}"), json!(""), json!(4), json!("x".repeat(257))] {
            assert!(ModelGlob::read(&value).is_err(), "{value}");
        }
    }
}
