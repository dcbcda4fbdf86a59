//! The rules of the protocol that a test can break, to see that it would notice.

/// A rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Statements that are not later than the last one are ignored.
    Numbered,
    /// Items count only when they start where the last ones ended.
    Addressed,
    /// Moving the acknowledged position moves what is held by the same charges.
    Rebased,
    /// Seeding sets every node's position to what the ledger contains.
    Marks,
    /// After a flush nothing is granted until all nodes have spoken.
    Join,
    /// Debts are honoured and never become negative holdings.
    Forced,
    /// What was told but not written is held over a seeding.
    Pending,
    /// A seed from before what a node has told to be written is refused.
    Overtaken,
    /// What a dead node held of a count ends.
    Ends,
    /// Where little is left a node keeps nothing, and asks before each admission.
    Tight,
    /// A node that was not heard of for too long spends nothing that it only keeps.
    Fresh,
    /// What comes too late is not taken.
    Late,
}

/// Which rules are in force: all of them, outside of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    #[cfg(test)]
    broken: Option<Rule>,
}

impl Rules {
    /// All.
    #[cfg(test)]
    pub const ALL: Self = Self { broken: None };

    /// All but this one.
    #[cfg(test)]
    pub const fn without(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether the rule is in force.
    #[must_use]
    #[cfg(test)]
    pub fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// Whether the rule is in force.
    #[must_use]
    #[cfg(not(test))]
    pub const fn hold(self, _rule: Rule) -> bool {
        true
    }
}
