//! Lists in pages: opaque cursors that name the last object seen, so that a page costs the same wherever it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::extract::Params;
use super::problem::{InvalidParam, Problem};

const DEFAULT_LIMIT: u64 = 50;
const MAX_LIMIT: u64 = 100;
/// Longer than any cursor that was ever handed out: the longest names have 512 bytes, and so has one of 256 that JSON
/// writes a backslash before.
const MAX_CURSOR: usize = 1024;

/// Where a page begins and how long it is.
#[derive(Debug)]
pub struct PageRequest<C> {
    /// The last object of the page before.
    pub after: Option<C>,
    /// How many objects, when the client said so.
    pub limit: Option<u64>,
}

/// The parameters of every list, for the documentation; [`PageRequest::read`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what PageRequest::read reads")]
pub struct PageParams {
    /// How many objects at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// `pageInfo.nextCursor` of the page before.
    #[param(min_length = 1, max_length = 1024, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// How to go on.
    pub page_info: PageInfo,
}

/// How to go on from a page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageInfo {
    /// The `cursor` of the next page; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// How many objects a page has at most.
    #[schema(minimum = 1, maximum = 100)]
    pub limit: u64,
    /// Whether there is a next page.
    pub has_more: bool,
}

impl<C: Serialize + DeserializeOwned> PageRequest<C> {
    /// Takes `limit` and `cursor` from the parameters.
    ///
    /// `kind` names the list: a cursor of another list is refused.
    pub fn read(params: &mut Params, kind: &str) -> Self {
        let limit = params.integer("limit", 1, i64::try_from(MAX_LIMIT).unwrap_or(100)).map(i64::unsigned_abs);
        let after = params.text("cursor", MAX_CURSOR).and_then(|text| {
            let cursor = decode(kind, &text);
            if cursor.is_none() {
                params.wrong(InvalidParam::new(
                    "cursor",
                    "invalid",
                    "is not a cursor of this list; take pageInfo.nextCursor of the page before",
                ));
            }
            cursor
        });
        Self { after, limit }
    }

    /// How many rows to ask for: one more than the page has, to learn whether there is a next one.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        self.limit.unwrap_or(DEFAULT_LIMIT) + 1
    }

    /// Makes the page of the rows that [`fetch`](Self::fetch) asked for.
    ///
    /// # Errors
    /// A row that cannot be shown.
    pub fn page<R, T>(
        &self,
        kind: &str,
        mut rows: Vec<R>,
        cursor: impl Fn(&R) -> C,
        show: impl Fn(R) -> Result<T, Problem>,
    ) -> Result<Page<T>, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let has_more = rows.len() as u64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next_cursor = rows.last().filter(|_| has_more).map(|row| encode(kind, &cursor(row)));
        let items = rows.into_iter().map(show).collect::<Result<_, _>>()?;
        Ok(Page { items, page_info: PageInfo { next_cursor, limit, has_more } })
    }
}

fn encode<C: Serialize>(kind: &str, cursor: &C) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(kind, cursor)).unwrap_or_default())
}

fn decode<C: DeserializeOwned>(kind: &str, text: &str) -> Option<C> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (found, cursor): (String, C) = serde_json::from_slice(&bytes).ok()?;
    (found == kind).then_some(cursor)
}
