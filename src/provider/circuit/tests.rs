#![allow(clippy::unwrap_used, reason = "tests")]

mod told;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Ratio;

const START: i64 = 1_767_225_600_000;

fn settings() -> Settings {
    Settings {
        failures: 3,
        ratio: Ratio::from_ppm(500_000),
        window: Duration::from_secs(10),
        open: Duration::from_secs(30),
        half_open: 2,
    }
}

/// A circuit and the time.
struct World {
    circuit: Circuit,
    settings: Settings,
    now: i64,
}

impl World {
    fn new() -> Self {
        Self { circuit: Circuit::default(), settings: settings(), now: START }
    }

    fn wait(&mut self, seconds: i64) {
        self.now += seconds * 1_000;
    }

    fn enter(&mut self) -> Option<Ticket> {
        self.circuit.enter(&self.settings, self.now)
    }

    fn leave(&mut self, ticket: Ticket, outcome: Outcome) {
        self.circuit.leave(ticket, outcome, &self.settings, self.now);
    }

    fn answered(&mut self, ticket: &mut Ticket) {
        self.circuit.answered(ticket, &self.settings, self.now);
    }

    fn once(&mut self, outcome: Outcome) {
        let ticket = self.enter().unwrap();
        self.leave(ticket, outcome);
    }

    fn fail(&mut self, times: usize) {
        for _ in 0..times {
            self.once(BAD);
        }
    }

    fn mode(&self) -> Mode {
        self.circuit.mode(self.now)
    }

    fn story(&self) -> Vec<(Mode, &'static str)> {
        self.circuit.history().iter().map(|change| (change.to, change.reason)).collect()
    }
}

const BAD: Outcome = Outcome::Bad(Effect::Counts, "broken");

fn opens(seconds: u64) -> Outcome {
    Outcome::Bad(Effect::Opens(Some(Duration::from_secs(seconds))), "upstream_status")
}

#[test]
fn enough_failures_open_it_and_trials_close_it() {
    let mut world = World::new();
    world.fail(2);
    assert_eq!(world.mode(), Mode::Closed);
    world.fail(1);
    assert_eq!(world.mode(), Mode::Open);
    assert!(world.enter().is_none());
    world.wait(29);
    assert!(world.enter().is_none());
    world.wait(1);
    assert_eq!(world.mode(), Mode::HalfOpen);
    let (one, two) = (world.enter().unwrap(), world.enter().unwrap());
    assert!(world.enter().is_none(), "only two trials");
    world.leave(one, Outcome::Good);
    assert!(world.enter().is_none(), "one that succeeded leaves no place for another");
    world.leave(two, Outcome::Good);
    assert_eq!(world.mode(), Mode::Closed);
    let expected = [(Mode::Open, "broken"), (Mode::HalfOpen, "time_is_over"), (Mode::Closed, "trials_succeeded")];
    assert_eq!(world.story(), expected);
}

#[test]
fn a_trial_that_fails_opens_it_again_for_as_long() {
    let mut world = World::new();
    world.fail(3);
    world.wait(30);
    let (one, two) = (world.enter().unwrap(), world.enter().unwrap());
    world.leave(one, BAD);
    assert_eq!(world.mode(), Mode::Open);
    world.leave(two, Outcome::Good);
    assert_eq!(world.mode(), Mode::Open, "what began before says nothing");
    world.wait(29);
    assert_eq!(world.mode(), Mode::Open);
    world.wait(1);
    assert_eq!(world.mode(), Mode::HalfOpen);
}

#[test]
fn a_trial_that_says_nothing_gives_its_place_to_another() {
    let mut world = World::new();
    world.fail(3);
    world.wait(30);
    for _ in 0..10 {
        world.once(Outcome::Nothing);
    }
    assert_eq!(world.mode(), Mode::HalfOpen);
    world.once(Outcome::Good);
    world.once(Outcome::Good);
    assert_eq!(world.mode(), Mode::Closed);
}

#[test]
fn a_trial_has_succeeded_when_its_answer_begins() {
    let mut world = World::new();
    world.fail(3);
    world.wait(30);
    let (mut one, mut two) = (world.enter().unwrap(), world.enter().unwrap());
    world.answered(&mut one);
    world.answered(&mut one);
    assert_eq!(world.mode(), Mode::HalfOpen, "it counts once");
    world.answered(&mut two);
    assert_eq!(world.mode(), Mode::Closed);
    // Both break off later: that counts like any other failure.
    world.leave(one, BAD);
    world.leave(two, BAD);
    assert_eq!(world.mode(), Mode::Closed);
    world.fail(1);
    assert_eq!(world.mode(), Mode::Open);
}

#[test]
fn failures_must_also_be_a_share_of_what_is_tried() {
    let mut world = World::new();
    for _ in 0..10 {
        world.once(Outcome::Good);
    }
    world.fail(9);
    assert_eq!(world.mode(), Mode::Closed, "9 of 19");
    world.fail(1);
    assert_eq!(world.mode(), Mode::Open, "10 of 20");
}

#[test]
fn failures_leave_the_window() {
    let mut world = World::new();
    world.fail(2);
    world.wait(10);
    world.fail(2);
    assert_eq!(world.mode(), Mode::Closed);
    world.wait(5);
    world.fail(1);
    assert_eq!(world.mode(), Mode::Open);
}

#[test]
fn a_time_that_is_told_opens_it_at_once_and_is_only_put_off() {
    let mut world = World::new();
    let (late, later) = (world.enter().unwrap(), world.enter().unwrap());
    world.once(opens(20));
    assert_eq!(world.circuit.opens_until(world.now), Some(START + 20_000));
    world.leave(late, opens(5));
    assert_eq!(world.circuit.opens_until(world.now), Some(START + 20_000), "not sooner");
    world.leave(later, opens(60));
    assert_eq!(world.circuit.opens_until(world.now), Some(START + 60_000));
    world.wait(60);
    assert_eq!((world.mode(), world.circuit.opens_until(world.now)), (Mode::HalfOpen, None));
}

#[test]
fn without_a_time_it_opens_for_as_long_as_is_configured() {
    let mut world = World::new();
    world.once(Outcome::Bad(Effect::Opens(None), "upstream_status"));
    assert_eq!(world.circuit.opens_until(world.now), Some(START + 30_000));
}

#[test]
fn what_began_before_a_reset_counts_for_nothing() {
    let mut world = World::new();
    let tickets: Vec<_> = (0..5).map(|_| world.enter().unwrap()).collect();
    world.fail(3);
    world.circuit.reset(world.now);
    assert_eq!(world.mode(), Mode::Closed);
    for ticket in tickets {
        world.leave(ticket, BAD);
    }
    assert_eq!(world.mode(), Mode::Closed);
    assert_eq!(world.circuit.counts(&world.settings, world.now), (0, 0));
    assert_eq!(world.story().last(), Some(&(Mode::Closed, "by_hand")));
}

#[test]
fn what_is_opened_by_hand_stays_open_until_it_is_reset() {
    let mut world = World::new();
    let before = world.enter().unwrap();
    world.circuit.open_by_hand(None, world.now);
    world.leave(before, opens(1));
    world.wait(1_000_000);
    assert_eq!(world.mode(), Mode::Open);
    world.circuit.reset(world.now);
    assert_eq!(world.mode(), Mode::Closed);
    world.circuit.open_by_hand(Some(world.now + 5_000), world.now);
    world.wait(5);
    assert_eq!(world.mode(), Mode::HalfOpen);
}

#[test]
fn another_window_begins_anew() {
    let mut world = World::new();
    world.fail(2);
    world.settings.window = Duration::from_secs(20);
    world.fail(2);
    assert_eq!(world.mode(), Mode::Closed);
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    /// The ticket at this place, modulo how many there are.
    Answered(usize),
    Leave(usize, Outcome),
    Wait(i64),
    Reset,
    OpenByHand(Option<i64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(BAD),
        4 => Just(Outcome::Good),
        2 => Just(Outcome::Nothing),
        1 => (0_u64..100).prop_map(opens),
        1 => Just(Outcome::Bad(Effect::Opens(None), "upstream_status")),
    ];
    let step = prop_oneof![
        8 => Just(Step::Enter),
        2 => any::<usize>().prop_map(Step::Answered),
        8 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Leave(which, outcome)),
        4 => (0_i64..15_000).prop_map(Step::Wait),
        1 => (15_000_i64..60_000).prop_map(Step::Wait),
    ];
    let by_hand = prop_oneof![Just(Step::Reset), proptest::option::of(0_i64..60_000).prop_map(Step::OpenByHand),];
    proptest::collection::vec(prop_oneof![40 => step, 1 => by_hand], 0..300)
}

proptest! {
    #[test]
    fn whatever_happens_it_does_what_it_says(steps in steps()) {
        let mut world = World::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        // Ends of this era that count, with their times; and the trials that are out.
        let mut ends: Vec<(i64, bool)> = Vec::new();
        let mut era = world.circuit.era;
        for step in steps {
            let before = world.mode();
            match step {
                Step::Enter => {
                    let admits = world.circuit.admits(&world.settings, world.now);
                    let ticket = world.enter();
                    prop_assert_eq!(ticket.is_some(), admits);
                    prop_assert!(!(before == Mode::Open && ticket.is_some()), "open lets nobody through");
                    prop_assert!(!(before == Mode::Closed && ticket.is_none()), "closed lets everybody through");
                    tickets.extend(ticket);
                }
                Step::Answered(which) if !tickets.is_empty() => {
                    let which = which % tickets.len();
                    let mut ticket = tickets.swap_remove(which);
                    world.answered(&mut ticket);
                    prop_assert!(world.mode() == before || world.mode() == Mode::Closed);
                    tickets.push(ticket);
                }
                Step::Leave(which, outcome) if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(which % tickets.len());
                    let (present, closed) = (ticket.era == world.circuit.era, before == Mode::Closed);
                    world.leave(ticket, outcome);
                    let opened = before != Mode::Open && world.mode() == Mode::Open;
                    match outcome {
                        Outcome::Good | Outcome::Nothing => prop_assert!(!opened, "only failures open it"),
                        Outcome::Bad(Effect::Opens(Some(wait)), _) if wait.is_zero() => {}
                        Outcome::Bad(Effect::Opens(_), _) => prop_assert_eq!(world.mode(), Mode::Open),
                        Outcome::Bad(Effect::Counts, _) => {
                            prop_assert!(present || !opened, "what is past opens nothing");
                            if present && closed {
                                ends.push((world.now, false));
                                let (good, bad) = exact(&ends, world.now);
                                let too_bad = bad >= 3 && bad * 2 >= good + bad;
                                prop_assert_eq!(opened, too_bad, "{} good, {} bad", good, bad);
                            }
                        }
                    }
                    if outcome == Outcome::Good && present && world.mode() == Mode::Closed {
                        if !closed {
                            ends.clear();
                        }
                        ends.push((world.now, true));
                    }
                }
                Step::Wait(ms) => world.now += ms,
                Step::Reset => {
                    world.circuit.reset(world.now);
                    prop_assert_eq!(world.mode(), Mode::Closed);
                }
                Step::OpenByHand(time) => {
                    world.circuit.open_by_hand(time.map(|ms| world.now + ms), world.now);
                }
                Step::Answered(_) | Step::Leave(..) => {}
            }
            let closes = before == Mode::HalfOpen && world.mode() == Mode::Closed;
            if era != world.circuit.era || (closes && !matches!(step, Step::Leave(..))) {
                era = world.circuit.era;
                ends.clear();
            }
            if let State::HalfOpen { trying, succeeded } = world.circuit.state {
                prop_assert!(trying + succeeded <= world.settings.half_open && succeeded < world.settings.half_open);
                let out = tickets.iter().filter(|ticket| ticket.trial && ticket.era == world.circuit.era).count();
                prop_assert_eq!(usize::try_from(trying), Ok(out), "a place is neither lost nor given twice");
            }
            prop_assert!(world.circuit.history().len() <= REMEMBERED);
        }
    }
}

/// Good and bad ends in the tenth of the window that runs, and the nine before it.
fn exact(ends: &[(i64, bool)], now: i64) -> (usize, usize) {
    let part = |at: i64| at.div_euclid(1_000);
    let within = |good: bool| ends.iter().filter(|(at, was)| *was == good && part(now) - part(*at) < 10).count();
    (within(true), within(false))
}
