//! A limit as the API shows it, and what may be written of it.

use entity::model_group_limits::{ActiveModel, Column, Model};
use sea_orm::ActiveValue::Set;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::limits::{self, Limits};
use super::super::params::MAX_ID;
use super::super::problem::Problem;
use super::super::time::Instant;
use super::super::validate::Check;
use crate::limit::{Mode, Subject, Window, WindowCap};

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// A user.
    User,
    /// Each member of a user group.
    UserGroup,
    /// A key.
    Key,
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelLimit {
    /// Never reused.
    pub id: i64,
    /// Whose it is.
    pub subject_type: SubjectType,
    /// Id of the user, user group or key.
    pub subject_id: i64,
    /// For which models.
    pub model_group_id: i64,
    /// At least one.
    pub limits: Limits,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

/// What is written of a limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelLimitFields {
    subject_type: SubjectType,
    /// Id of the user, user group or key.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    subject_id: i64,
    /// For which models.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    model_group_id: i64,
    /// At least one.
    #[schema(schema_with = limits::schema)]
    limits: Value,
}

/// What may be changed of a limit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelLimitCapsFields {
    /// At least one.
    #[schema(schema_with = limits::schema)]
    limits: Value,
}

/// Fields that have been checked.
pub struct Wanted {
    pub kind: SubjectType,
    pub subject_id: i64,
    pub model_group_id: i64,
    pub caps: Vec<WindowCap>,
}

impl SubjectType {
    /// Where its id is kept.
    pub const fn column(self) -> Column {
        match self {
            Self::User => Column::UserId,
            Self::UserGroup => Column::UserGroupId,
            Self::Key => Column::KeyId,
        }
    }
}

impl ModelLimitFields {
    /// Checks the fields.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(self) -> Result<Wanted, Problem> {
        let mut check = Check::default();
        for (path, id) in [("subjectId", self.subject_id), ("modelGroupId", self.model_group_id)] {
            if !(1..=MAX_ID).contains(&id) {
                check.wrong(path, "out_of_range", format!("must be an integer from 1 to {MAX_ID}"));
            }
        }
        let caps = some_caps(check, self.limits)?;
        Ok(Wanted { kind: self.subject_type, subject_id: self.subject_id, model_group_id: self.model_group_id, caps })
    }
}

impl ModelLimitCapsFields {
    /// What a patch of this limit starts from.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn of(row: &Model) -> Result<Self, Problem> {
        Ok(Self { limits: limits::patchable(&caps(row))? })
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(self) -> Result<Vec<WindowCap>, Problem> {
        some_caps(Check::default(), self.limits)
    }
}

fn some_caps(mut check: Check, limits: Value) -> Result<Vec<WindowCap>, Problem> {
    let caps = limits::read(&mut check, "limits", Some(limits));
    check.finish()?;
    if caps.is_empty() {
        let message = "must have at least one cap; to take the last one away, delete the limit";
        return Err(Problem::invalid("limits", "missing", message));
    }
    Ok(caps)
}

impl ModelLimit {
    /// A row as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn show(row: &Model) -> Result<Self, Problem> {
        let (subject_type, subject_id) = match subject(row)? {
            Subject::User(id) => (SubjectType::User, id),
            Subject::UserGroup(id) => (SubjectType::UserGroup, id),
            Subject::Key(id) => (SubjectType::Key, id),
        };
        Ok(Self {
            id: row.id,
            subject_type,
            subject_id,
            model_group_id: row.model_group_id,
            limits: Limits::of(&caps(row)),
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        })
    }
}

/// Whose limit a row is.
///
/// # Errors
/// The row is damaged.
pub fn subject(row: &Model) -> Result<Subject, Problem> {
    let user = row.user_id.map(Subject::User);
    let subject = user.or(row.user_group_id.map(Subject::UserGroup)).or(row.key_id.map(Subject::Key));
    subject.ok_or_else(|| Problem::internal(&"a limit has no subject"))
}

/// The caps of a row, read as they are when they are enforced.
fn caps(row: &Model) -> Vec<WindowCap> {
    crate::directory::limit_caps(row)
}

/// Writes caps into a row, in place of all that it had.
pub fn write(caps: &[WindowCap], row: &mut ActiveModel) {
    let find = |window| caps.iter().find(|cap| cap.window == window);
    let nanos = |window| Set(find(window).map(|cap| cap.usd.nanos()));
    let reset = |window| Set(find(window).map(|cap| limits::reset(cap.mode).to_owned()));
    row.total_nanos = nanos(Window::Total);
    row.five_hours_nanos = nanos(Window::FiveHours);
    row.five_hours_reset = reset(Window::FiveHours);
    row.daily_nanos = nanos(Window::Daily);
    row.daily_reset = reset(Window::Daily);
    row.daily_at = Set(match find(Window::Daily).map(|cap| cap.mode) {
        Some(Mode::Calendar { at }) => Some(i32::from(at)),
        _ => None,
    });
    row.weekly_nanos = nanos(Window::Weekly);
    row.monthly_nanos = nanos(Window::Monthly);
}
