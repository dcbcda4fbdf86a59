//! What the scripts are given and what they answer, in the order in which they read and write it.
//!
//! Numbers go as text and come back as integers; both are whole and no larger than a double holds exactly.

use std::sync::Arc;

use redis::Value;

use super::super::account::{Bytes, EXACT, policy_bytes, policy_of_bytes};
use super::super::protocol::{
    Answer, Audit, Counted, Holding, Position, SeedStatement, Seeded, Statement, Taken, Terms, WindowReport,
};
use super::RedisError;
use crate::limit::{Axis, BudgetId, CountKind, Mode, Scope, Window};
use crate::money::Usd;

/// What stands for never and for nothing.
const NONE: &[u8] = b"";

/// The arguments of a script.
#[derive(Debug, Default)]
pub struct Arguments(Vec<Bytes>);

impl Arguments {
    /// `now`: the authority's time instead of Redis' own, for tests.
    pub fn at(now: Option<i64>) -> Self {
        let mut arguments = Self::default();
        match now {
            Some(now) => arguments.number(now),
            None => arguments.bytes(NONE),
        }
        arguments
    }

    pub fn list(&self) -> &[Bytes] {
        &self.0
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.push(bytes.into());
    }

    pub fn number(&mut self, number: impl Into<i128>) {
        self.bytes(number.into().to_string().as_bytes());
    }

    fn len(&mut self, len: usize) {
        self.number(len as i128);
    }

    fn flag(&mut self, flag: bool) {
        self.number(u8::from(flag));
    }

    fn usd(&mut self, amount: Usd) {
        self.number(amount.clamp(-EXACT, EXACT).nanos());
    }

    fn position(&mut self, position: Position) {
        let text = match position {
            Position::Start => "S".to_owned(),
            Position::Mark(lsn, birth) => format!("M{lsn}:{birth}"),
            Position::At(count) => format!("A{count}"),
        };
        self.bytes(text.as_bytes());
    }

    fn terms(&mut self, terms: &Terms) {
        let policy = &terms.policy;
        self.number(policy.version);
        self.bytes(&policy_bytes(policy));
        self.len(policy.windows.len());
        for (at, window) in policy.windows.iter().enumerate() {
            self.number(kind(window.window));
            self.number(mode(window.mode));
            self.number(window.since_era);
            self.len(window.caps.len());
            for step in &window.caps {
                // The first is from the beginning of time.
                self.number(step.from.max(0));
                self.usd(step.cap);
            }
            match terms.bounds.get(at).copied().flatten() {
                Some(bounds) => [bounds.start, bounds.end, bounds.next_end].map(|at| self.number(at)),
                None => [(); 3].map(|()| self.bytes(NONE)),
            };
        }
    }

    /// What a node says.
    pub fn statement(&mut self, said: &Statement) {
        self.number(said.inc);
        self.number(said.seq);
        self.number(said.sent);
        self.position(said.from);
        self.position(Position::At(said.to));
        self.number(said.written);
        let Statement { reserved, kept, unwritten, need_min, need_sum, slice, slice_min, .. } = *said;
        for amount in [reserved, kept, unwritten, need_min, need_sum, slice, slice_min] {
            self.usd(amount);
        }
        match said.ends_after {
            i64::MAX => self.bytes(NONE),
            after => self.number(after),
        }
        self.flag(said.last);
        self.flag(said.report);
        self.terms(&said.terms);
        self.len(said.items.len());
        for item in &said.items {
            self.number(item.minute);
            self.number(item.era);
            self.usd(item.amount);
        }
    }

    /// What the ledger says. None when it says nothing about a window.
    pub fn seed(&mut self, born: i64, dead_after: i64, gap: &[u8], said: &SeedStatement) -> Option<()> {
        let SeedStatement { seed, terms } = said;
        if terms.policy.windows.len() != terms.bounds.len() {
            return None;
        }
        self.number(seed.query_started);
        self.number(born);
        self.number(dead_after);
        self.bytes(gap);
        self.terms(terms);
        for policy in &terms.policy.windows {
            let known = seed.windows.iter().find(|known| known.window == policy.window)?;
            self.usd(known.sum);
            self.len(known.minutes.len());
            for &(minute, amount) in &known.minutes {
                self.number(minute);
                self.usd(amount);
            }
        }
        match seed.first_charge_start {
            Some(start) => self.number(start),
            None => self.bytes(NONE),
        }
        self.len(seed.marks.len());
        for &(inc, lsn) in &seed.marks {
            self.number(inc);
            self.number(lsn);
        }
        Some(())
    }
}

/// The number of a window in the scripts.
const fn kind(window: Window) -> i64 {
    match window {
        Window::Total => 0,
        Window::FiveHours => 1,
        Window::Daily => 2,
        Window::Weekly => 3,
        Window::Monthly => 4,
        Window::Minute => 5,
        Window::AtOnce => 6,
    }
}

fn window(kind: i64) -> Result<Window, RedisError> {
    let all = Window::ALL.into_iter().chain([Window::Minute, Window::AtOnce]);
    { all }.find(|window| self::kind(*window) == kind).ok_or(RedisError::Garbled("a window"))
}

/// The number of a mode in the scripts; of the calendar, minutes after midnight.
fn mode(mode: Mode) -> i64 {
    match mode {
        Mode::Forever => -1,
        Mode::Rolling => -2,
        Mode::FromFirstCharge => -3,
        Mode::Calendar { at } => at.into(),
    }
}

/// The name of a budget in keys and messages: axis, owner and scope.
pub fn name(budget: BudgetId) -> String {
    let BudgetId { axis, owner, scope } = budget;
    let axis = axis.as_str();
    match scope {
        Scope::Mainline => format!("{axis}:{owner}:mainline"),
        Scope::ModelGroup(id) => format!("{axis}:{owner}:group-{id}"),
        Scope::Count(CountKind::Rpm) => format!("{axis}:{owner}:rpm"),
        Scope::Count(CountKind::Concurrency) => format!("{axis}:{owner}:concurrency"),
    }
}

/// The budget of this name.
pub fn budget(name: &str) -> Option<BudgetId> {
    let mut parts = name.split(':');
    let (axis, owner, scope) = (parts.next()?, parts.next()?, parts.next()?);
    let scope = match scope {
        "mainline" => Scope::Mainline,
        "rpm" => Scope::Count(CountKind::Rpm),
        "concurrency" => Scope::Count(CountKind::Concurrency),
        group => Scope::ModelGroup(group.strip_prefix("group-")?.parse().ok()?),
    };
    let axis = Axis::parse(axis)?;
    (parts.next().is_none()).then_some(BudgetId { axis, owner: owner.parse().ok()?, scope })
}

/// What a script answered, read from its beginning.
#[derive(Debug)]
pub struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// None when the script had nothing to say.
    pub fn of(value: Value) -> Result<Option<Self>, RedisError> {
        match value {
            Value::Array(values) => Ok(Some(Self(values.into_iter()))),
            Value::Nil => Ok(None),
            _ => Err(RedisError::Garbled("an answer")),
        }
    }

    pub fn number(&mut self) -> Result<i64, RedisError> {
        self.number_or_none()?.ok_or(RedisError::Garbled("a number"))
    }

    pub fn number_or_none(&mut self) -> Result<Option<i64>, RedisError> {
        match self.next()? {
            Value::Int(number) => Ok(Some(number)),
            Value::Nil => Ok(None),
            Value::BulkString(text) => {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                number.map(Some).ok_or(RedisError::Garbled("a number"))
            }
            _ => Err(RedisError::Garbled("a number")),
        }
    }

    fn usd(&mut self) -> Result<Usd, RedisError> {
        self.number().map(Usd::from_nanos)
    }

    fn flag(&mut self) -> Result<bool, RedisError> {
        self.number().map(|number| number != 0)
    }

    fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, RedisError> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            _ => Err(RedisError::Garbled("a text")),
        }
    }

    fn text(&mut self) -> Result<String, RedisError> {
        let text = self.bytes_or_none()?.and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or(RedisError::Garbled("a text"))
    }

    fn list(&mut self) -> Result<Self, RedisError> {
        Self::of(self.next()?)?.ok_or(RedisError::Garbled("a list"))
    }

    fn lists<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, RedisError>) -> Result<Vec<T>, RedisError> {
        let lists = self.list()?.0.map(|value| Self::of(value)?.ok_or(RedisError::Garbled("a list")));
        lists.map(|list| read(&mut list?)).collect()
    }

    fn next(&mut self) -> Result<Value, RedisError> {
        self.0.next().ok_or(RedisError::Garbled("the end of an answer"))
    }

    fn position(&mut self) -> Result<Position, RedisError> {
        let text = self.text()?;
        let exact = |place: &u64| i64::try_from(*place).is_ok_and(|place| place <= EXACT.nanos());
        let place = |text: &str| text.parse().ok().filter(exact).ok_or(RedisError::Garbled("a position"));
        match text.split_at_checked(1) {
            Some(("M", mark)) => {
                let (lsn, birth) = mark.split_once(':').ok_or(RedisError::Garbled("a position"))?;
                Ok(Position::Mark(place(lsn)?, birth.parse().map_err(|_| RedisError::Garbled("a position"))?))
            }
            Some(("A", count)) => Ok(Position::At(place(count)?)),
            _ => Err(RedisError::Garbled("a position")),
        }
    }

    /// Pairs of an instant and an amount, flat in a list.
    fn leaving(&mut self) -> Result<Vec<(i64, Usd)>, RedisError> {
        let mut list = self.list()?;
        let mut leaving = Vec::with_capacity(list.0.len() / 2);
        while list.0.len() > 0 {
            leaving.push((list.number()?, list.usd()?));
        }
        Ok(leaving)
    }
}

/// The answer to a statement, and the authority's time.
pub fn answer(mut reply: Reply) -> Result<(Answer, i64), RedisError> {
    let kind = reply.text()?;
    let now = reply.number()?;
    let answer = match kind.as_str() {
        "ok" => Answer::Ok(Box::new(taken(&mut reply)?)),
        "seed" => Answer::Seed,
        "resend" => Answer::Resend(reply.position()?),
        "old" => Answer::Old,
        "stale" => Answer::Stale,
        _ => return Err(RedisError::Garbled("an answer")),
    };
    Ok((answer, now))
}

fn taken(reply: &mut Reply) -> Result<Taken, RedisError> {
    Ok(Taken {
        kept: reply.usd()?,
        granted: reply.usd()?,
        free: reply.usd()?,
        tight: reply.flag()?,
        settling: reply.flag()?,
        recallable: reply.usd()?,
        valid_until: reply.number_or_none()?.unwrap_or(i64::MAX),
        steady_until: reply.number_or_none()?.unwrap_or(i64::MAX),
        policy: {
            let (version, bytes) = (reply.number_or_none()?, reply.bytes_or_none()?);
            version.zip(bytes).map(|(version, bytes)| Arc::new(policy_of_bytes(version, &bytes)))
        },
        started: reply.number_or_none()?,
        reseed: reply.flag()?,
        unknown: reply.flag()?,
        windows: reply.lists(report)?,
    })
}

fn report(reply: &mut Reply) -> Result<WindowReport, RedisError> {
    Ok(WindowReport {
        window: window(reply.number()?)?,
        cap: reply.usd()?,
        spent: reply.usd()?,
        held: reply.usd()?,
        reserved: reply.usd()?,
        starts: reply.number_or_none()?,
        ends: reply.number_or_none()?,
        leaving: reply.leaving()?,
    })
}

/// What became of a seed, how many have yet to say what they hold, and of how many something is held until they do.
pub fn seeded(mut reply: Reply) -> Result<(Seeded, i64, i64), RedisError> {
    let kind = reply.text()?;
    let _now = reply.number()?;
    match kind.as_str() {
        "taken" => Ok((Seeded::Taken, reply.number()?, reply.number()?)),
        _ => Ok((Seeded::Refused, 0, 0)),
    }
}

/// What is counted of a budget.
pub fn audit(mut reply: Reply) -> Result<Audit, RedisError> {
    Ok(Audit {
        version: reply.number()?,
        reseed: reply.flag()?,
        windows: reply.lists(counted)?,
        holders: reply.lists(holding)?,
    })
}

fn counted(reply: &mut Reply) -> Result<Counted, RedisError> {
    let window = window(reply.number()?)?;
    let without_start = match reply.number()? {
        -3 => i64::MAX,
        _ => i64::MIN,
    };
    Ok(Counted {
        window,
        start: reply.number_or_none()?.unwrap_or(without_start),
        spent: reply.usd()?,
        leaving: reply.leaving()?,
    })
}

fn holding(reply: &mut Reply) -> Result<Holding, RedisError> {
    Ok(Holding {
        inc: reply.number()?,
        position: reply.position()?,
        reserved: reply.usd()?,
        kept: reply.usd()?,
        pending: reply.usd()?,
        unwritten: reply.usd()?,
        seen: reply.number()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_budget_is_found_by_its_name() {
        let scopes = [
            Scope::Mainline,
            Scope::ModelGroup(7),
            Scope::ModelGroup(i64::MAX),
            Scope::Count(CountKind::Rpm),
            Scope::Count(CountKind::Concurrency),
        ];
        for axis in [Axis::Key, Axis::User, Axis::Provider] {
            for scope in scopes {
                let id = BudgetId { axis, owner: i64::MAX - 1, scope };
                assert_eq!(budget(&name(id)), Some(id));
            }
        }
        for text in ["", "user", "user:1", "user:x:mainline", "user:1:group-", "user:1:mainline:", "nobody:1:mainline"]
        {
            assert_eq!(budget(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_an_error() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        for values in [vec![], vec![text("ok")], vec![text("ok"), Value::Int(1)], vec![text("what"), Value::Int(1)]] {
            assert!(answer(Reply::of(Value::Array(values)).unwrap().unwrap()).is_err());
        }
        assert!(Reply::of(Value::Int(1)).is_err());
        for place in ["A9007199254740992", "M18446744073709551615", "A-1", "A", "S", "A1.5"] {
            let resend = vec![text("resend"), text("1"), text(place)];
            assert!(answer(Reply::of(Value::Array(resend)).unwrap().unwrap()).is_err(), "{place}");
        }
        let resend = vec![text("resend"), text("1"), text("A9007199254740991")];
        assert!(answer(Reply::of(Value::Array(resend)).unwrap().unwrap()).is_ok());
    }
}
