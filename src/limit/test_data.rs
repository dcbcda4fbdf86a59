//! Limits to try things on: one model group, 7, with the model `model`.

use super::data::{BoostRow, LimitData, LimitRow, ModelGroupRow, Owner, Subject, UserGroupRow, WindowCap};
use super::snapshot::Snapshot;
use super::window::{Mode, Window};
use crate::money::Usd;

/// The model group.
pub const GROUP: i64 = 7;

/// Builds the data of a snapshot. Every row has the stamp 1.
pub struct Data(pub LimitData);

impl Data {
    pub fn new() -> Self {
        let models = vec!["model".to_owned()];
        let group = ModelGroupRow { id: GROUP, name: format!("group-{GROUP}"), models, stamp: 1 };
        Self(LimitData { as_of: i64::MAX, model_groups: vec![group], ..LimitData::default() })
    }

    pub fn user_group(mut self, id: i64, name: &str, members: &[i64]) -> Self {
        self.0.user_groups.push(UserGroupRow { id, name: name.to_owned(), members: members.to_vec(), stamp: 1 });
        self
    }

    pub fn limit_on_user(self, id: i64, caps: &[WindowCap]) -> Self {
        self.limit(Subject::User(id), caps)
    }

    pub fn limit_on_user_group(self, id: i64, caps: &[WindowCap]) -> Self {
        self.limit(Subject::UserGroup(id), caps)
    }

    pub fn limit_on_key(self, id: i64, caps: &[WindowCap]) -> Self {
        self.limit(Subject::Key(id), caps)
    }

    pub fn boost(mut self, user_id: i64, window: Window, dollars: i64, starts_at: i64, expires_at: i64) -> Self {
        let id = i64::try_from(self.0.boosts.len()).unwrap_or(i64::MAX);
        let usd = usd(dollars);
        self.0.boosts.push(BoostRow {
            id,
            user_id,
            model_group_id: GROUP,
            window,
            usd,
            starts_at,
            expires_at,
            stamp: 1,
        });
        self
    }

    pub fn snapshot(self) -> Snapshot {
        Snapshot::new(self.0)
    }

    fn limit(mut self, subject: Subject, caps: &[WindowCap]) -> Self {
        self.0.limits.push(LimitRow { subject, model_group_id: GROUP, caps: caps.to_vec(), stamp: 1 });
        self
    }
}

pub fn usd(dollars: i64) -> Usd {
    Usd::from_nanos(dollars * Usd::NANOS_PER_USD)
}

pub fn cap(window: Window, dollars: i64) -> WindowCap {
    let mode = match window {
        Window::Total | Window::AtOnce => Mode::Forever,
        Window::FiveHours | Window::Minute => Mode::Rolling,
        Window::Daily | Window::Weekly | Window::Monthly => Mode::Calendar { at: 0 },
    };
    WindowCap { window, usd: usd(dollars), mode }
}

pub fn daily(dollars: i64) -> WindowCap {
    cap(Window::Daily, dollars)
}

/// A user, or a key: without limits of its own.
pub fn user(id: i64) -> Owner {
    Owner { id, stamp: 1, ..Owner::default() }
}

pub fn with_mainline(id: i64, caps: &[WindowCap]) -> Owner {
    Owner { mainline: caps.to_vec(), ..user(id) }
}
