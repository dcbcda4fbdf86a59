//! What a circuit does with what other nodes say, and with what a probe finds.

use super::*;

const BEHIND: i64 = 300;

/// Opened elsewhere so many seconds from now, for so many.
fn opened(at: i64, seconds: i64) -> Word {
    let until = Some(at + seconds * 1_000);
    Word { at, state: Told::Open { until, firm: false }, reason: "broken" }
}

fn closed(at: i64) -> Word {
    Word { at, state: Told::Closed, reason: TRIALS_SUCCEEDED }
}

impl World {
    fn hear(&mut self, word: Word) {
        self.circuit.hear(word, &self.settings, self.now, BEHIND);
    }

    fn until(&self) -> i64 {
        self.circuit.opens_until(self.now).unwrap() - START
    }
}

#[test]
fn what_another_node_has_found_out_counts_here_and_is_not_told_on() {
    let mut world = World::new();
    world.hear(opened(START, 30));
    assert_eq!((world.mode(), world.until()), (Mode::Open, 30_000 + BEHIND), "a little after that node");
    let last = world.circuit.history().back().copied().unwrap();
    assert_eq!((last.reason, last.told), ("broken", true));
    assert!(world.enter().is_none());
    world.wait(5);
    // It is heard of again: in a message, and where it is written down.
    world.hear(opened(START, 30));
    assert_eq!((world.until(), world.story().len()), (30_000 + BEHIND, 1));
    world.hear(closed(world.now));
    assert_eq!(world.mode(), Mode::Closed);
    world.hear(opened(START, 30));
    assert_eq!(world.mode(), Mode::Closed, "that is over");
    assert!(!world.circuit.has_news(), "nothing of it is this node's to tell");
}

#[test]
fn its_own_changes_are_to_be_told_once() {
    let mut world = World::new();
    world.fail(3);
    assert!(world.circuit.has_news());
    let (word, trying) = world.circuit.take_news();
    assert_eq!((word, trying), (Some(opened(START, 30)), None));
    assert!(!world.circuit.has_news());
    world.wait(30);
    let (one, two) = (world.enter().unwrap(), world.enter().unwrap());
    assert_eq!(world.circuit.take_news(), (None, Some(world.now)), "that it makes trials");
    world.leave(one, Outcome::Good);
    assert!(!world.circuit.has_news());
    world.leave(two, Outcome::Good);
    assert_eq!(world.circuit.take_news(), (Some(closed(world.now)), None));
    // What comes after something comes after it whatever the clock says.
    world.now -= 1_000;
    world.once(opens(60));
    let word = world.circuit.take_news().0.unwrap();
    assert!(word.is_after(&closed(START + 30_000)), "{word:?}");
}

#[test]
fn while_another_node_makes_trials_this_one_waits_but_not_for_long() {
    let mut world = World::new();
    world.hear(opened(START, 30));
    world.wait(30);
    world.circuit.hear_trying(world.now, &world.settings, world.now);
    world.wait(9);
    assert!(world.enter().is_none());
    world.wait(1);
    assert!(world.enter().is_some(), "nothing has come of them");
    // Its own trials go on, and so does what is closed.
    world.circuit.hear_trying(world.now, &world.settings, world.now);
    assert!(world.enter().is_some());
    let mut other = World::new();
    other.circuit.hear_trying(other.now, &other.settings, other.now);
    assert_eq!(other.mode(), Mode::Closed);
    // Trials of an earlier opening.
    other.fail(3);
    other.circuit.hear_trying(START - 1, &other.settings, START + 25_000);
    assert_eq!(other.until(), 30_000);
}

#[test]
fn of_two_openings_the_longer_holds_and_the_others_hear_of_it() {
    let mut world = World::new();
    world.once(opens(60));
    world.circuit.take_news();
    world.now += 500;
    world.hear(opened(START + 400, 30));
    assert_eq!(world.until(), 60_000);
    let word = world.circuit.take_news().0.unwrap();
    let state = Told::Open { until: Some(START + 60_000), firm: true };
    assert_eq!((word.state, word.at), (state, START + 500));
    // The other way round it has nothing to add.
    let mut world = World::new();
    world.fail(3);
    world.circuit.take_news();
    world.hear(Word { at: START + 400, state, reason: "upstream_status" });
    assert!(!world.circuit.has_news());
    assert_eq!(world.until(), 60_000 + BEHIND);
}

#[test]
fn a_node_whose_clock_is_wrong_keeps_nothing_open() {
    let day = 24 * 3_600;
    for (word, mode, until) in [
        (opened(START + 60_000, 30), Mode::Closed, None),
        (opened(START - 60_000, 30), Mode::Closed, None),
        (opened(START + 4_000, 30), Mode::Open, Some(34_000)),
        (opened(START, day * 365), Mode::Open, Some(3_600_000)),
        (opened(i64::MAX, 0), Mode::Closed, None),
        (Word { at: i64::MIN, ..opened(START, 30) }, Mode::Closed, None),
        (Word { state: Told::Open { until: None, firm: false }, ..opened(START, 0) }, Mode::Open, Some(3_600_000)),
        (closed(START + 60_000), Mode::Closed, None),
    ] {
        let mut world = World::new();
        for _ in 0..3 {
            world.hear(word);
        }
        assert_eq!(world.mode(), mode, "{word:?}");
        let expected = until.map(|until| until + BEHIND + START);
        assert_eq!(world.circuit.opens_until(world.now), expected, "{word:?}");
        // Not even by saying so again and again.
        world.wait(3_605);
        world.hear(word);
        assert_ne!(world.mode(), Mode::Open, "{word:?}");
    }
    let mut world = World::new();
    world.fail(3);
    world.hear(closed(START + 60_000));
    assert_eq!(world.mode(), Mode::Open);
}

#[test]
fn what_was_opened_by_hand_is_not_closed_by_what_another_node_finds() {
    let mut world = World::new();
    world.circuit.open_by_hand(None, world.now);
    world.wait(1);
    world.hear(closed(world.now));
    world.hear(opened(world.now, 5));
    world.wait(60);
    assert_eq!(world.mode(), Mode::Open);
    // And where nobody was told, it holds against what was found out since.
    let by_hand = *world.circuit.word();
    let mut other = World::new();
    other.wait(30);
    other.fail(3);
    other.hear(by_hand);
    other.wait(60);
    assert_eq!((other.mode(), other.circuit.opens_until(other.now)), (Mode::Open, None));
}

#[test]
fn a_probe_that_succeeds_ends_what_failures_have_opened_and_trials_follow() {
    let mut world = World::new();
    world.circuit.probed(world.now);
    assert_eq!(world.mode(), Mode::Closed);
    world.fail(3);
    assert!(world.circuit.is_probed(world.now));
    world.wait(5);
    world.circuit.probed(world.now);
    assert_eq!(world.mode(), Mode::HalfOpen, "that a list of models is there says little");
    assert!(!world.circuit.is_probed(world.now), "once is enough");
    let (one, two) = (world.enter().unwrap(), world.enter().unwrap());
    assert!(world.enter().is_none());
    world.leave(one, Outcome::Good);
    world.leave(two, Outcome::Good);
    assert_eq!(world.mode(), Mode::Closed);
    assert_eq!(world.story()[1], (Mode::HalfOpen, "probe_succeeded"));
}

#[test]
fn a_probe_that_was_wrong_is_not_believed_until_time_has_shown_more() {
    let mut world = World::new();
    world.fail(3);
    world.circuit.probed(world.now);
    world.fail(1);
    assert_eq!((world.mode(), world.until()), (Mode::Open, 30_000));
    assert!(!world.circuit.is_probed(world.now));
    world.circuit.probed(world.now);
    assert_eq!(world.mode(), Mode::Open);
    world.wait(30);
    world.fail(1);
    assert!(world.circuit.is_probed(world.now), "a trial of its own time has failed");
}

#[test]
fn no_probe_ends_what_a_person_or_the_provider_has_said() {
    let mut by_hand = World::new();
    by_hand.circuit.open_by_hand(None, START);
    let mut for_a_while = World::new();
    for_a_while.circuit.open_by_hand(Some(START + 60_000), START);
    let mut told_when = World::new();
    told_when.once(opens(60));
    let mut put_off = World::new();
    let late = put_off.enter().unwrap();
    put_off.fail(3);
    put_off.leave(late, opens(10));
    let mut used_up = World::new();
    used_up.once(Outcome::Bad(Effect::Opens(None), "upstream_status"));
    let mut elsewhere = World::new();
    elsewhere.hear(*told_when.circuit.word());
    for world in [&mut by_hand, &mut for_a_while, &mut told_when, &mut put_off, &mut used_up, &mut elsewhere] {
        world.wait(5);
        assert!(!world.circuit.is_probed(world.now));
        world.circuit.probed(world.now);
        assert_eq!(world.mode(), Mode::Open, "{:?}", world.circuit.word());
    }
}

#[test]
fn while_another_node_makes_trials_a_probe_does_not_begin_them_here() {
    let mut world = World::new();
    world.hear(opened(START, 30));
    world.wait(5);
    world.circuit.hear_trying(world.now, &world.settings, world.now);
    world.wait(1);
    world.circuit.probed(world.now);
    assert_eq!((world.mode(), world.until()), (Mode::Open, 15_000));
    world.wait(9);
    assert_eq!(world.mode(), Mode::HalfOpen);
}
