//! Names of providers.

use schemars::{Schema, json_schema};
use serde_json::Value;

use super::{Notation, derive_from_notation, text};

const LONGEST: usize = 64;

/// The notation of a provider's name, which is a label of metrics.
pub struct ProviderName;

derive_from_notation!(schema: ProviderName);

impl Notation for ProviderName {
    type Target = String;

    const NAME: &'static str = "ProviderName";

    fn definition() -> Schema {
        json_schema!({
            "description": "Lower-case letters, digits, dots, hyphens and underscores.",
            "type": "string",
            "pattern": "^[a-z0-9._-]{1,64}$",
            "examples": ["anthropic", "openai-eu"],
        })
    }

    fn read(value: &Value) -> Result<String, String> {
        let text = text(value)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(allowed) {
            return Err(format!(
                "is not a valid name: use 1 to {LONGEST} lower-case letters, digits, dots, hyphens and underscores"
            ));
        }
        Ok(text.to_owned())
    }

    fn write(target: &String) -> Value {
        Value::from(target.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_a_label() {
        assert_eq!(ProviderName::read(&json!("open-ai_2.eu")), Ok("open-ai_2.eu".to_owned()));
        for value in
            [json!(""), json!("OpenAI"), json!("a b"), json!("a\n"), json!("é"), json!(5), json!("a".repeat(65))]
        {
            assert!(ProviderName::read(&value).is_err(), "{value}");
        }
    }
}
