//! What a reset of limits is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Payload;
use super::problem::Problem;
use crate::limit::Window;

/// Which windows start anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "documents what Reset::read reads")]
pub struct ResetFields {
    /// `5h`, `daily`, `weekly`, `monthly` or `total`; left out: all.
    #[schema(pattern = "^(5h|daily|weekly|monthly|total)$")]
    window: Option<String>,
}

/// A reset, as the audit log shows it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// None: all.
    #[serde(default)]
    pub window: Option<Window>,
}

impl Reset {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// There is no such window.
    pub fn read(body: &Payload) -> Result<Self, Problem> {
        if body.bytes.is_empty() { Ok(Self::default()) } else { body.object() }
    }
}
