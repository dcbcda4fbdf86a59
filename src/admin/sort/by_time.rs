//! Lists by time: newest first, or from the oldest on.

use serde::{Deserialize, Serialize};

use crate::admin::extract::Params;
use crate::admin::page::{Page, PageRequest};
use crate::admin::problem::{InvalidParam, Problem};
use crate::store::Direction;

/// The last row of a page: its time and id, and where the oldest come first what was sorted by.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Down(i64, i64),
    Up(String, i64, i64),
}

/// Which page of a list by time is asked for.
pub struct ByTime {
    kind: &'static str,
    word: &'static str,
    page: PageRequest<Place>,
    /// Which way the list goes.
    pub direction: Direction,
}

impl ByTime {
    /// Takes `sort`, `limit` and `cursor` from the parameters; `word` is the name of the time.
    pub fn read(params: &mut Params, kind: &'static str, word: &'static str) -> Self {
        let newest = format!("-{word}");
        let ways = [(word, Direction::Up), (newest.as_str(), Direction::Down)];
        let direction = params.choice("sort", &ways).unwrap_or_default();
        let mut page = PageRequest::<Place>::read(params, kind);
        let fits = match &page.after {
            Some(Place::Down(..)) => direction == Direction::Down,
            Some(Place::Up(by, ..)) => direction == Direction::Up && by == word,
            None => true,
        };
        if !fits {
            page.after = None;
            params.wrong(InvalidParam::new("cursor", "invalid", "is of a list that was sorted otherwise"));
        }
        Self { kind, word, page, direction }
    }

    /// The time and id of the last row of the page before.
    pub fn after(&self) -> Option<(i64, i64)> {
        match self.page.after {
            Some(Place::Down(at, id) | Place::Up(_, at, id)) => Some((at, id)),
            None => None,
        }
    }

    /// How many rows to ask for.
    pub fn fetch(&self) -> u64 {
        self.page.fetch()
    }

    /// How many rows, when the client said so.
    pub const fn limit(&self) -> Option<u64> {
        self.page.limit
    }

    /// Makes the page of the rows that were asked for; `place`: the time and id of one.
    ///
    /// # Errors
    /// A row that cannot be shown.
    pub fn page<R, T>(
        &self,
        rows: Vec<R>,
        place: impl Fn(&R) -> (i64, i64),
        show: impl Fn(R) -> Result<T, Problem>,
    ) -> Result<Page<T>, Problem> {
        let cursor = |row: &R| match (place(row), self.direction) {
            ((at, id), Direction::Down) => Place::Down(at, id),
            ((at, id), Direction::Up) => Place::Up(self.word.to_owned(), at, id),
        };
        self.page.page(self.kind, rows, cursor, show)
    }
}
