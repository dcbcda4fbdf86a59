//! A budget that nobody uses: packed, because there may be a million of them.

use std::sync::Arc;

use super::super::protocol::{Birth, Position};
use super::bytes::{Bytes, Reader, Writer};
use super::window::WindowState;
use super::{Account, Holder};
use crate::budget::rules::Rules;
use crate::limit::{CapStep, Mode, Policy, Source, Window, WindowPolicy};
use crate::money::Usd;

/// A budget that nobody holds anything of: when it was last spoken of and when it was seeded, its caps, its windows, the
/// nodes. The caps are packed as well: nobody else may have them in memory while the budget rests.
#[derive(Clone, Debug)]
pub struct Resting(Bytes);

impl Resting {
    /// When the budget was last spoken of.
    #[must_use]
    pub fn last_contact(&self) -> i64 {
        Reader::new(&self.0).number()
    }

    /// Packs a budget; none when it is not that simple.
    #[must_use]
    pub fn of(account: &Account) -> Option<Self> {
        let quiet = |holder: &Holder| !holder.closed && holder.unwritten == Usd::ZERO;
        if !account.is_idle() || account.reseed || !account.join.is_empty() || !account.holders.iter().all(quiet) {
            return None;
        }
        let mut to = Writer::default();
        to.put_all([account.now, account.now.wrapping_sub(account.seeded_at)]);
        to.put(account.policy.version);
        pack_policy(&account.policy, &mut to);
        for window in &account.windows {
            window.pack(&mut to)?;
        }
        to.put_len(account.holders.len());
        for holder in &account.holders {
            let place = match holder.position {
                Position::Start => return None,
                Position::At(count) => i64::try_from(count).ok()?,
                Position::Mark(lsn, _) => -1 - i64::try_from(lsn).ok()?,
            };
            to.put_all([holder.inc, i64::try_from(holder.seq).ok()?, place, account.now.wrapping_sub(holder.seen)]);
        }
        Some(Self(to.done()))
    }

    /// The budget as it was. `birth`: of its authority.
    #[must_use]
    pub fn wake(&self, birth: Birth, rules: Rules) -> Account {
        let mut from = Reader::new(&self.0);
        let now = from.number();
        let seeded_at = now.wrapping_sub(from.number());
        let version = from.number();
        let policy = unpacked_policy(version, &mut from);
        let windows = policy.windows.iter().map(|policy| WindowState::unpacked(policy, &mut from)).collect();
        Account {
            policy: Arc::new(policy),
            now,
            seeded_at,
            recall_at: i64::MIN,
            settle_until: birth,
            join: Vec::new(),
            reseed: false,
            stated: (0, 0),
            windows,
            holders: from.list(|from| holder(now, birth, from)),
            rules,
        }
    }
}

/// All of a policy but its version, in a few bytes that are the same for the same policy.
#[must_use]
pub fn policy_bytes(policy: &Policy) -> Bytes {
    let mut to = Writer::default();
    pack_policy(policy, &mut to);
    to.done()
}

/// The policy of these bytes.
#[must_use]
pub fn policy_of_bytes(version: i64, bytes: &[u8]) -> Policy {
    unpacked_policy(version, &mut Reader::new(bytes))
}

fn pack_policy(policy: &Policy, to: &mut Writer) {
    to.put(policy.era);
    to.put_len(policy.windows.len());
    for WindowPolicy { window, mode, base, caps, source, since_era } in &policy.windows {
        let window = match window {
            Window::Total => 0,
            Window::FiveHours => 1,
            Window::Daily => 2,
            Window::Weekly => 3,
            Window::Monthly => 4,
            Window::Minute => 5,
            Window::AtOnce => 6,
        };
        let mode = match *mode {
            Mode::Forever => -1,
            Mode::Rolling => -2,
            Mode::FromFirstCharge => -3,
            Mode::Calendar { at } => i64::from(at),
        };
        let (kind, id) = match *source {
            Source::User(id) => (0, id),
            Source::UserGroup(id) => (1, id),
            Source::Key(id) => (2, id),
            Source::Provider(id) => (3, id),
        };
        to.put_all([window, mode, kind, id, *since_era, base.nanos()]);
        to.put_len(caps.len());
        to.put_all(caps.iter().flat_map(|step| [step.from, step.cap.nanos() - base.nanos()]));
    }
}

fn unpacked_policy(version: i64, from: &mut Reader<'_>) -> Policy {
    let era = from.number();
    let windows = from.list(|from| {
        let window = match from.number() {
            0 => Window::Total,
            1 => Window::FiveHours,
            2 => Window::Daily,
            3 => Window::Weekly,
            4 => Window::Monthly,
            5 => Window::Minute,
            _ => Window::AtOnce,
        };
        let mode = match from.number() {
            -1 => Mode::Forever,
            -2 => Mode::Rolling,
            -3 => Mode::FromFirstCharge,
            at => Mode::Calendar { at: at.try_into().unwrap_or_default() },
        };
        let source = match (from.number(), from.number()) {
            (0, id) => Source::User(id),
            (1, id) => Source::UserGroup(id),
            (2, id) => Source::Key(id),
            (_, id) => Source::Provider(id),
        };
        let (since_era, base) = (from.number(), from.usd());
        let caps = from.list(|from| CapStep { from: from.number(), cap: base + from.usd() });
        WindowPolicy { window, mode, base, caps, source, since_era }
    });
    Policy { version, era, windows }
}

fn holder(now: i64, birth: Birth, from: &mut Reader<'_>) -> Holder {
    let (inc, seq, place) = (from.number(), from.number().cast_unsigned(), from.number());
    let seen = now.wrapping_sub(from.number());
    let position = if place < 0 {
        Position::Mark((-1 - place).cast_unsigned(), birth)
    } else {
        Position::At(place.cast_unsigned())
    };
    Holder {
        inc,
        seq,
        position,
        reserved: Usd::ZERO,
        kept: Usd::ZERO,
        // A seed that is younger than the budget's rest has all of it.
        written: 0,
        unwritten: Usd::ZERO,
        pending: Usd::ZERO,
        closed: false,
        heard: false,
        ends_at: i64::MAX,
        seen,
    }
}
