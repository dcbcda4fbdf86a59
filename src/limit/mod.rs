//! Who may spend how much, and how often.

mod calendar;
mod counts;
mod data;
mod policy;
mod window;

pub use calendar::{Span, span};
pub use counts::{Axis, CountGuard, CountKind, CountLimits, CountRefusal, CountSubject, Counts};
pub use data::{BoostRow, LimitData, LimitRow, ModelGroupRow, Owner, Subject, UserGroupRow, WindowCap};
pub use policy::{BudgetId, CapStep, Policy, Scope, Source, WindowPolicy, provider_owner};
pub use window::{Mode, Window};
