//! Reading the ledger: rows in pages, sums in groups, and one request. Nothing here loads an unbounded number of rows.

mod parts;
mod rows;
mod summary;

pub use rows::{Position, Request, page, request, stream};
pub use summary::{Group, GroupBy, MAX_GROUPS, Summary, Totals, summary};

use entity::usage_ledger::Column;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait, Condition, Value};

use super::Outcome;

/// Which rows are meant; what is not set does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who paid.
    pub user_id: Option<i64>,
    /// With which key.
    pub key_id: Option<i64>,
    /// To which provider.
    pub provider: Option<String>,
    /// For which model, as it was sent upstream.
    pub model: Option<String>,
    /// In which model group.
    pub model_group_id: Option<i64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Settled at or after, Unix milliseconds.
    pub from: Option<i64>,
    /// Settled before, Unix milliseconds.
    pub to: Option<i64>,
    /// Where the cost counts.
    pub counted: Counted,
}

/// In which budgets a cost counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// Anywhere.
    #[default]
    All,
    /// In the mainline budget of the user.
    UserGlobal,
    /// In the mainline budget of the key.
    KeyGlobal,
    /// In a model-group budget instead of a mainline budget, on the side of the user, the key, or both.
    Group,
}

impl Filter {
    fn condition(&self) -> Condition {
        self.fields()
            .add_option(self.from.map(|at| Column::SettledAt.gte(at)))
            .add_option(self.to.map(|at| Column::SettledAt.lt(at)))
    }

    /// All but the time: in columns that the sums of quarters have as well.
    fn fields(&self) -> Condition {
        let is = |column: Column, value: Value| Expr::col(column).eq(value);
        Condition::all()
            .add_option(self.user_id.map(|id| is(Column::UserId, id.into())))
            .add_option(self.key_id.map(|id| is(Column::KeyId, id.into())))
            .add_option(self.provider.as_ref().map(|name| is(Column::Provider, name.as_str().into())))
            .add_option(self.model.as_ref().map(|name| is(Column::ServedModel, name.as_str().into())))
            .add_option(self.model_group_id.map(|id| is(Column::ModelGroupId, id.into())))
            .add_option(self.outcome.map(|outcome| is(Column::Outcome, outcome.as_str().into())))
            .add_option(match self.counted {
                Counted::All => None,
                Counted::UserGlobal => Some(Condition::all().add(is(Column::CountedInUserGlobal, true.into()))),
                Counted::KeyGlobal => Some(Condition::all().add(is(Column::CountedInKeyGlobal, true.into()))),
                Counted::Group => Some(
                    Condition::any()
                        .add(is(Column::CountedInUserGlobal, false.into()))
                        .add(is(Column::CountedInKeyGlobal, false.into())),
                ),
            })
    }
}

#[cfg(test)]
mod tests;
