//! Reading the ledger: rows in pages, sums in groups, and one request. Nothing here loads an unbounded number of rows.

mod rows;
mod summary;

pub use rows::{Position, Request, page, request, stream};
pub use summary::{Group, GroupBy, MAX_GROUPS, Summary, Totals, summary};

use entity::usage_ledger::Column;
use sea_orm::{ColumnTrait, Condition};

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
        Condition::all()
            .add_option(self.user_id.map(|id| Column::UserId.eq(id)))
            .add_option(self.key_id.map(|id| Column::KeyId.eq(id)))
            .add_option(self.provider.as_ref().map(|name| Column::Provider.eq(name)))
            .add_option(self.model.as_ref().map(|name| Column::ServedModel.eq(name)))
            .add_option(self.model_group_id.map(|id| Column::ModelGroupId.eq(id)))
            .add_option(self.outcome.map(|outcome| Column::Outcome.eq(outcome.as_str())))
            .add_option(self.from.map(|at| Column::SettledAt.gte(at)))
            .add_option(self.to.map(|at| Column::SettledAt.lt(at)))
            .add_option(match self.counted {
                Counted::All => None,
                Counted::UserGlobal => Some(Condition::all().add(Column::CountedInUserGlobal.eq(true))),
                Counted::KeyGlobal => Some(Condition::all().add(Column::CountedInKeyGlobal.eq(true))),
                Counted::Group => Some(
                    Condition::any()
                        .add(Column::CountedInUserGlobal.eq(false))
                        .add(Column::CountedInKeyGlobal.eq(false)),
                ),
            })
    }
}

#[cfg(test)]
mod tests;
