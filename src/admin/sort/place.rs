//! Where a page ends: the last object of it, as a cursor keeps it.

use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{ColumnTrait, IdenStatic};
use serde::{Deserialize, Serialize};

use super::range::is_text;

/// The last object of a page: by its id, or in another order by its name, the object's value there, and its id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    Id(i64),
    In(String, Key, i64),
}

/// What an object has in the column that it is sorted by.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    Number(i64),
    Text(String),
}

/// What a list is sorted by, and which way.
#[derive(Clone, Copy)]
pub struct By<C> {
    pub word: &'static str,
    pub column: C,
    pub descending: bool,
}

impl Place {
    pub const fn id(&self) -> i64 {
        match self {
            Self::Id(id) | Self::In(_, _, id) => *id,
        }
    }
}

impl Key {
    pub fn value(&self) -> SimpleExpr {
        match self {
            Self::Number(number) => Expr::val(*number),
            Self::Text(text) => Expr::val(text.as_str()),
        }
    }
}

impl<C> By<C> {
    pub fn name(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.word)
    }
}

pub fn is_id<C: IdenStatic>(column: C, id: C) -> bool {
    column.as_str() == id.as_str()
}

/// Whether a cursor was made in this order. What it holds goes to the database: no text there has control characters.
pub fn fits<C: ColumnTrait>(place: &Place, by: By<C>, by_id: bool) -> bool {
    match place {
        Place::Id(_) => by_id && !by.descending,
        Place::In(..) if by_id && !by.descending => false,
        Place::In(word, Key::Number(_), _) => *word == by.name() && !is_text(by.column),
        Place::In(word, Key::Text(text), _) => {
            *word == by.name() && is_text(by.column) && !text.chars().any(char::is_control)
        }
    }
}
