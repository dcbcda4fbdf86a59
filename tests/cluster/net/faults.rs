//! What becomes of a command, by chance.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

/// How often what goes wrong, in thousandths of the scripts that nodes run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// It is done, and whoever asked is never told.
    pub swallowed: u32,
    /// It is done so much later: whoever asked has given up, and asked for other things meanwhile.
    pub late: u32,
    /// It is done twice, and answered once.
    pub doubled: u32,
    /// It is done, and the connection is closed instead of an answer.
    pub cut: u32,
}

/// A late command is so late.
pub const LATE: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Swallowed,
    Late,
    Doubled,
    Cut,
}

impl Faults {
    /// The usual trouble: 5 % of the answers are lost, 3 % of the commands come late, 5 % twice.
    pub const TROUBLE: Self = Self { swallowed: 50, late: 30, doubled: 50, cut: 0 };

    pub(super) fn decide(&self, random: &mut StdRng) -> Fate {
        let mut dice = random.random_range(0..1_000);
        let fates = [
            (self.swallowed, Fate::Swallowed),
            (self.late, Fate::Late),
            (self.doubled, Fate::Doubled),
            (self.cut, Fate::Cut),
        ];
        for (often, fate) in fates {
            if dice < often {
                return fate;
            }
            dice -= often;
        }
        Fate::Good
    }
}
