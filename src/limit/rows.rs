//! Limits by whose they are and for which models, in parts: a later state shares those in which nothing has changed.

use std::collections::HashMap;
use std::sync::Arc;

use super::data::{LimitRow, Subject, WindowCap};

/// Whose, and for which model group.
pub type LimitKey = (Subject, i64);

/// With 100 000 rows a change copies some hundred.
const PARTS: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Rows(Vec<Arc<HashMap<LimitKey, SetCaps>>>);

#[derive(Clone, Debug, Default)]
pub(super) struct SetCaps {
    pub(super) caps: Vec<WindowCap>,
    pub(super) stamp: i64,
}

impl Default for Rows {
    fn default() -> Self {
        Self(vec![Arc::default(); PARTS])
    }
}

impl Rows {
    pub(super) fn new(limits: Vec<LimitRow>) -> Self {
        let mut parts = vec![HashMap::<LimitKey, SetCaps>::new(); PARTS];
        for LimitRow { subject, model_group_id, caps, stamp } in limits {
            let key = (subject, model_group_id);
            let row = parts[part(key)].entry(key).or_default();
            row.caps.extend(caps);
            row.stamp = row.stamp.max(stamp);
        }
        Self(parts.into_iter().map(Arc::new).collect())
    }

    /// Without some, then with others in place of those of the same key.
    pub(super) fn changed(&self, gone: &[LimitKey], limits: Vec<LimitRow>) -> Self {
        let mut rows = self.clone();
        for key in gone {
            Arc::make_mut(&mut rows.0[part(*key)]).remove(key);
        }
        for LimitRow { subject, model_group_id, caps, stamp } in limits {
            let key = (subject, model_group_id);
            Arc::make_mut(&mut rows.0[part(key)]).insert(key, SetCaps { caps, stamp });
        }
        rows
    }

    pub(super) fn get(&self, key: LimitKey) -> Option<&SetCaps> {
        self.0[part(key)].get(&key)
    }
}

/// Ids follow each other.
fn part((subject, model_group): LimitKey) -> usize {
    let (Subject::User(id) | Subject::UserGroup(id) | Subject::Key(id)) = subject;
    let mixed = id.wrapping_mul(31).wrapping_add(model_group).rem_euclid(PARTS as i64);
    usize::try_from(mixed).unwrap_or(0)
}
