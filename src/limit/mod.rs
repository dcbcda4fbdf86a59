//! Who may spend how much, and how often.

mod calendar;
mod count_limits;
mod counts;
mod data;
mod memo;
mod merge;
mod names;
mod policy;
mod resolve;
mod rows;
mod snapshot;
#[cfg(test)]
mod test_data;
mod window;

pub use calendar::{Span, span};
pub use count_limits::{Axis, CountKind, CountLimits, CountRefusal, CountSubject};
pub use counts::{CountGuard, Counts};
pub use data::{BoostRow, LimitData, LimitRow, ModelGroupRow, Owner, Subject, UserGroupRow, WindowCap};
pub use policy::{BudgetId, CapStep, LARGEST_CAP, Policy, Scope, Source, UNORDERED, WindowPolicy, provider_owner};
pub use resolve::{Budget, Payers, Resolution, mainline_policy, provider_budget};
pub use rows::LimitKey;
pub use snapshot::{ModelGroup, Snapshot};
pub use window::{Mode, Window};
