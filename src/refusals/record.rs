//! One refused request, and the row that it becomes: with bounds on everything that a client or a configuration names.

use std::sync::Arc;

use entity::refusals::Model;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::dialect::{Amounts, Dialect, GatewayError};
use crate::ledger::{AttemptReport, stored_name};
use crate::money::Usd;

/// Providers that are listed in one row, of each of the two lists.
pub const MOST_LISTED: usize = 16;

/// Bytes of the sentence.
const MOST_MESSAGE: usize = 1_024;

/// Bytes of the details; what is longer is left out, for half of a JSON object is none.
const MOST_DETAILS: usize = 4_096;

/// A refused request of a known key.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the client saw in `x-tollgate-request-id`.
    pub request_id: Uuid,
    /// When the request arrived, Unix milliseconds.
    pub created_at: i64,
    /// Whose key it was.
    pub user_id: i64,
    /// Which.
    pub key_id: i64,
    /// The model that the client named; none: nobody has read that far.
    pub model: Option<String>,
    /// The wire format; none: of a list of models.
    pub dialect: Option<Dialect>,
    /// What the client was told.
    pub error: GatewayError,
    /// Providers that could not be asked: the first [`MOST_LISTED`].
    pub excluded: Vec<Excluded>,
    /// How many more there are.
    pub excluded_more: usize,
    /// Who was asked or passed over before.
    pub attempts: Vec<AttemptReport>,
}

/// A provider that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excluded {
    /// Its name.
    pub provider: Arc<str>,
    /// The model that it would have been sent.
    pub served_model: Arc<str>,
    /// Why, as `/explain` says it.
    pub reason: String,
}

/// A word of the details that the client was told.
pub(super) fn word<'a>(error: &'a GatewayError, name: &str) -> Option<&'a str> {
    error.details.as_ref()?.get(name)?.as_str()
}

impl Refusal {
    /// The row. Made before it waits in the queue, so that what waits is as small as what is stored.
    pub(super) fn into_row(mut self) -> Model {
        let error = &self.error;
        let amount = |of: fn(&Amounts) -> Usd| error.amounts.as_ref().map(|amounts| of(amounts).nanos());
        let told = |name| word(error, name).map(stored_name);
        let details = error.details.as_ref().map(Value::to_string).filter(|text| text.len() <= MOST_DETAILS);
        self.attempts.truncate(MOST_LISTED);
        for attempt in &mut self.attempts {
            attempt.served_model = stored_name(&attempt.served_model);
        }
        for provider in &mut self.excluded {
            provider.served_model = stored_name(&provider.served_model).into();
        }
        Model {
            id: 0,
            request_id: self.request_id.to_string(),
            created_at: self.created_at,
            user_id: self.user_id,
            key_id: self.key_id,
            model: self.model.as_deref().map(stored_name),
            dialect: self.dialect.map(|dialect| dialect.as_str().to_owned()),
            status: error.code.status().into(),
            code: error.code.as_str().to_owned(),
            message: without_nul(&error.message[..error.message.floor_char_boundary(MOST_MESSAGE)]),
            axis: told("axis"),
            scope: told("scope"),
            window: told("window"),
            limit_nanos: amount(|amounts| amounts.limit),
            used_nanos: amount(|amounts| amounts.used),
            reserved_nanos: amount(|amounts| amounts.reserved),
            requested_nanos: amount(|amounts| amounts.requested),
            repeated: 0,
            details,
            excluded: json(&self.excluded),
            excluded_more: i32::try_from(self.excluded_more).unwrap_or(i32::MAX),
            attempts: json(&self.attempts),
        }
    }
}

/// Plain strings and numbers: this cannot fail. PostgreSQL takes no NUL, and JSON has none: it spells it out.
fn json(list: &impl Serialize) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
