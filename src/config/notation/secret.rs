//! Secrets: values that are used and never shown.

use std::fmt;
use std::sync::Arc;

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, text};

/// What is shown instead of a secret.
pub(super) const MASK: &str = "***";

/// A credential. It is never shown: `Debug`, `Display` and serialization print `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret from its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { MASK })
    }
}

derive_from_notation!(all: Secret);

impl Notation for Secret {
    type Target = Self;

    const NAME: &'static str = "Secret";

    const SECRET: bool = true;

    fn definition() -> Schema {
        json_schema!({
            "description": "A credential. Keep it out of the file: write ${VARIABLE}.",
            "type": "string",
            "writeOnly": true,
            "examples": ["${ANTHROPIC_API_KEY}"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has a space, a line break or another character that a credential cannot have".to_owned());
        }
        Ok(Self::new(text))
    }

    fn write(target: &Self) -> Value {
        Value::String(target.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::read(&json!("sk-canary")).unwrap();
        let shown = format!("{secret} {secret:?} {secret:#?} {} ", serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(secret.expose(), "sk-canary");
        assert_eq!(secret.to_string(), "***");
    }

    #[test]
    fn whether_there_is_a_secret_is_no_secret() {
        let none = Secret::read(&json!("")).unwrap();
        assert!(none.is_empty());
        assert_eq!(none.to_string(), "");
    }

    #[test]
    fn what_could_not_be_sent_is_refused_without_showing_it() {
        for value in
            [json!("sk-canary\n"), json!("sk canary"), json!("sk-canary\u{7f}"), json!("canaryé"), json!(987_654)]
        {
            let error = Secret::read(&value).unwrap_err();
            assert!(!error.contains("canary") && !error.contains("987"), "{error}");
        }
    }
}
