//! What holds whatever goes wrong, and that a broken rule would be noticed.

use std::ops::Range;

use super::super::world::usd;
use super::{ALL, Cluster, Faults};
use crate::budget::rules::{Rule, Rules};
use crate::money::Usd;

fn run(seed: u64, faults: Faults) -> Result<Usd, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async { Cluster::new(seed, faults).run().await })
}

fn hold(faults: Faults, seeds: Range<u64>) {
    let mut all = Usd::ZERO;
    let runs = (seeds.end - seeds.start).cast_signed();
    for seed in seeds {
        all += run(seed, faults).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    // An earlier life has charged 4.8 before each run.
    assert!(all.nanos() / runs > usd("6").nanos(), "{all} in {runs} runs: too little traffic to prove anything");
}

/// A run that would pass without the rule proves nothing about it, nor does one that fails with all of them (as few do:
/// a cap is lowered, what a node kept is cut, and the answer that tells it so is lost). Few runs need some of the rules:
/// the first that is tried is near one that does.
fn must_fail(first: u64, faults: Faults) {
    let all = Faults { rules: Rules::ALL, expiry: None, ..faults };
    let proves = |seed: &u64| run(*seed, faults).is_err() && run(*seed, all).is_ok();
    assert!((first..first + 60).any(|seed| proves(&seed)), "nothing notices: {faults:?}");
}

fn without(rule: Rule) -> Faults {
    Faults { rules: Rules::without(rule), ..ALL }
}

#[test]
fn nodes_on_a_bad_network_spend_what_the_caps_allow_and_no_more() {
    hold(Faults { pauses: false, crashes: false, ..ALL }, 0..3);
}

#[test]
fn nothing_is_overspent_while_nodes_pause_and_crash() {
    hold(ALL, 100..103);
}

#[test]
fn debts_of_nodes_that_crash_are_counted_once_and_end() {
    hold(Faults { overruns: true, ..ALL }, 200..203);
}

#[test]
fn nodes_whose_leases_expire_overspend() {
    must_fail(1, Faults { expiry: Some(5_000), ..ALL });
}

#[test]
fn nodes_whose_statements_have_no_numbers_fail() {
    must_fail(8, without(Rule::Numbered));
}

#[test]
fn nodes_whose_charges_have_no_positions_fail() {
    must_fail(0, without(Rule::Addressed));
}

#[test]
fn nodes_whose_positions_move_without_their_charges_fail() {
    must_fail(150, without(Rule::Rebased));
}

#[test]
fn nodes_that_are_seeded_without_marks_fail() {
    must_fail(0, without(Rule::Marks));
}

#[test]
fn nodes_that_do_not_wait_for_each_other_after_a_flush_fail() {
    must_fail(0, Faults { flushes: true, ..without(Rule::Join) });
}

#[test]
fn nodes_whose_debts_are_negative_holdings_fail() {
    must_fail(0, Faults { overruns: true, ..without(Rule::Forced) });
}

#[test]
fn nodes_that_are_seeded_over_what_was_told_and_not_written_fail() {
    must_fail(4, without(Rule::Pending));
}
