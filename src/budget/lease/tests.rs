//! Charges that come in another order than the journal numbers them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::charges::Charges;
use crate::budget::Position;
use crate::money::Usd;

fn nanos(nanos: i64) -> Usd {
    Usd::from_nanos(nanos)
}

#[test]
fn a_charge_that_is_numbered_early_and_made_late_is_told() {
    let mut charges = Charges::new(false);
    charges.watched_from(4);
    charges.add(6, 0, 0, nanos(60));
    let (_, to) = charges.untold_items();
    charges.told(to, charges.untold());
    charges.add(5, 0, 0, nanos(50));
    let (items, _) = charges.untold_items();
    assert_eq!(items.iter().map(|item| item.amount).sum::<Usd>(), nanos(50));
    // A seed that contains the journal up to 5 contains that one and not the other.
    assert!(charges.move_to(Position::Mark(5, 0)));
    assert_eq!(charges.untold(), nanos(60));
}

#[test]
fn what_was_made_before_the_budget_was_watched_or_is_forgotten_cannot_be_told_again() {
    let mut charges = Charges::new(false);
    assert!(!charges.move_to(Position::Mark(100, 0)), "not watched yet");
    charges.watched_from(4);
    assert!(!charges.move_to(Position::Mark(3, 0)));
    assert!(charges.move_to(Position::Mark(4, 0)));
    charges.add(5, 0, 0, nanos(50));
    charges.add(6, 0, 0, nanos(60));
    charges.told(2, nanos(110));
    charges.trim(5);
    assert!(!charges.move_to(Position::Mark(4, 0)), "5 is forgotten");
    assert!(!charges.move_to(Position::At(0)));
    assert!(charges.move_to(Position::At(1)));
    assert_eq!(charges.untold(), nanos(60));
}

#[test]
fn what_is_not_told_is_never_forgotten() {
    let mut charges = Charges::new(false);
    charges.watched_from(0);
    charges.add(1, 0, 0, nanos(10));
    charges.trim(1);
    assert_eq!(charges.untold(), nanos(10));
    assert_eq!(charges.untold_items().0.len(), 1);
}
