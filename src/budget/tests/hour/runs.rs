//! What holds for an hour, and that a broken rule would be noticed.

use super::{ALL, Faults, Figures, Sim};
use crate::budget::rules::{Rule, Rules};
use crate::money::Usd;

const HOUR: i64 = 3_600_000;
const MINUTES: i64 = 120_000;

fn hour(seed: u64, faults: Faults) -> Figures {
    let figures = Sim::new(32, HOUR, seed, faults).run().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    #[allow(clippy::print_stdout, reason = "how much went wrong is part of the result")]
    {
        println!("an hour of 32 nodes: {figures:?}");
    }
    let Figures { admitted, grants, seeds, crashes, flushes, rollbacks, edits, .. } = figures;
    let happened =
        [(admitted, 5_000), (grants, 2_000), (seeds, 500), (crashes, 50), (flushes, 3), (rollbacks, 20), (edits, 200)];
    for (count, least) in happened {
        assert!(count >= least, "too little has happened to prove anything: {figures:?}");
    }
    assert!(figures.cut > Usd::ZERO && figures.twice > Usd::ZERO, "no exception was needed: {figures:?}");
    figures
}

fn few(seed: u64, faults: Faults) -> Result<Figures, String> {
    Sim::new(8, MINUTES, seed, faults).run()
}

/// A run that would pass without the rule proves nothing about it, nor does one that fails with all of them.
fn must_fail(faults: Faults) {
    let caught = (0..20).find(|&seed| few(seed, faults).is_err());
    let Some(caught) = caught else { panic!("nothing notices: {faults:?}") };
    let control = few(caught, Faults { rules: Rules::ALL, expiry: None, ..faults });
    assert!(control.is_ok(), "seed {caught} fails with all rules too: {control:?}");
}

fn without(rule: Rule) -> Faults {
    Faults { rules: Rules::without(rule), rollbacks: false, ..ALL }
}

#[test]
fn an_hour_of_thirty_two_nodes_passes_no_cap_but_by_what_is_stated() {
    let figures = hour(600, ALL);
    assert_eq!(figures.debts, Usd::ZERO);
}

#[test]
fn an_hour_of_thirty_two_nodes_whose_requests_cost_more_than_expected_passes_no_cap_but_by_what_is_stated() {
    let figures = hour(601, Faults { overruns: true, ..ALL });
    assert!(figures.debts > Usd::ZERO, "{figures:?}");
}

#[test]
fn caps_that_are_only_raised_are_never_passed_at_all() {
    for seed in 0..4 {
        let faults = Faults { lowers: false, flushes: false, rollbacks: false, ..ALL };
        let figures = few(seed, faults).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!((figures.most_over, figures.cut), (Usd::ZERO, Usd::ZERO), "{figures:?}");
        assert!(figures.admitted > 300, "{figures:?}");
    }
}

#[test]
fn leases_that_expire_are_noticed() {
    must_fail(Faults { expiry: Some(5_000), rollbacks: false, ..ALL });
}

// Each rule that matters in so short a time; the others are broken where one node talks to one authority.

#[test]
fn statements_without_numbers_are_noticed() {
    must_fail(without(Rule::Numbered));
}

#[test]
fn charges_without_positions_are_noticed() {
    must_fail(without(Rule::Addressed));
}

#[test]
fn positions_that_move_without_their_charges_are_noticed() {
    must_fail(without(Rule::Rebased));
}

#[test]
fn seeds_without_marks_are_noticed() {
    must_fail(without(Rule::Marks));
}

#[test]
fn seeds_over_what_was_told_and_not_written_are_noticed() {
    must_fail(without(Rule::Pending));
}

#[test]
fn nodes_that_keep_what_they_have_when_little_is_left_are_noticed() {
    must_fail(without(Rule::Tight));
}

#[test]
fn statements_that_are_taken_however_late_are_noticed() {
    must_fail(without(Rule::Late));
}

#[test]
fn debts_as_negative_holdings_are_noticed() {
    must_fail(Faults { overruns: true, ..without(Rule::Forced) });
}
