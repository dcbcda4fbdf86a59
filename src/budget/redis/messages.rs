//! What nodes tell each other about leases. Every message may be lost: then somebody waits a little longer.

use std::fmt;

use super::super::protocol::Incarnation;
use super::wire;
use crate::limit::BudgetId;
use crate::subscribe::subscribe;

pub const CHANNEL: &str = "tollgate:leases";

/// A longer message is not one of ours.
const LONGEST: usize = 256;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Give back what is not used.
    Recall,
    /// Say what you hold.
    Join,
}

/// Somebody wants something of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who.
    pub inc: Incarnation,
    pub kind: Kind,
    /// Of which budget.
    pub budget: BudgetId,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Recall => "recall",
            Kind::Join => "join",
        };
        write!(f, "{kind} {} {}", self.inc, wire::name(self.budget))
    }
}

impl Message {
    /// None for what another version says.
    fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= LONGEST)?;
        let mut words = text.split(' ');
        let kind = match words.next()? {
            "recall" => Kind::Recall,
            "join" => Kind::Join,
            _ => return None,
        };
        Some(Self { inc: words.next()?.parse().ok()?, kind, budget: wire::budget(words.next()?)? })
    }
}

/// Hears what others say, for ever. None: from now on; what was said before may have been missed.
pub async fn listen(url: &str, heard: impl Fn(Option<Message>) + Sync) {
    subscribe(url, CHANNEL, "hear of leases on other nodes", |message| match message {
        None => heard(None),
        Some(message) => {
            if let Some(message) = Message::parse(message) {
                heard(Some(message));
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::limit::{Axis, Scope};

    #[test]
    fn messages_come_back_and_nonsense_does_not() {
        for kind in [Kind::Recall, Kind::Join] {
            let budget = BudgetId { axis: Axis::Key, owner: 7, scope: Scope::ModelGroup(3) };
            let message = Message { inc: 5, kind, budget };
            assert_eq!(Message::parse(message.to_string().as_bytes()), Some(message));
        }
        let long = format!("recall 5 user:1:mainline {}", "x".repeat(LONGEST));
        for text in ["", "recall", "recall 5", "recall x user:1:mainline", "keep 5 user:1:mainline", "join 5 me", &long]
        {
            assert_eq!(Message::parse(text.as_bytes()), None, "{text}");
        }
    }
}
