//! Several nodes that tell each other of the circuits of one provider.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::message::Message;
use super::super::told::{News, Written};
use super::*;
use crate::provider::circuit::{Told, Word};

const BAD: Blame = Blame { scope: Scope::Provider, effect: Effect::Counts };
const BEHIND: i64 = 300;

/// As it goes over the wire.
fn sent(news: &News) -> News {
    let text = Message::new(1, "p", news).unwrap().write();
    let message = Message::read(&text).unwrap();
    assert_eq!((message.node, &*message.of), (1, "p"));
    message.news()
}

/// As it is written down by whoever writes last.
fn written(all: &[News]) -> Written {
    let fields = all.iter().filter_map(|news| Message::new(1, "p", news).unwrap().field());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Written::read(&fields.map(|field| (field.name, text(field.text))).collect::<Vec<_>>())
}

fn node() -> Arc<Circuits> {
    Circuits::new(settings(), &Arc::default())
}

fn fail(circuits: &Arc<Circuits>, name: &str, blame: Blame, now: i64) {
    circuits.enter(&model(name), now).unwrap().bad(blame, "broken", now);
}

fn open(circuits: &Arc<Circuits>, now: i64) {
    fail(circuits, "n", BAD, now);
    fail(circuits, "n", BAD, now);
}

#[test]
fn what_one_node_finds_out_of_a_provider_and_of_a_model_the_other_knows() {
    let (one, other) = (node(), node());
    fail(&one, "m", of(Scope::Model, Effect::Opens(None)), START);
    let news = one.take_news();
    assert_eq!(news.len(), 1, "{news:?}");
    other.hear(&sent(&news[0]), START, BEHIND);
    assert_eq!(other.shut("m", START).unwrap().scope, Scope::Model);
    assert_eq!(other.shut("n", START), None);
    one.enter(&model("n"), START).unwrap().bad(of(Scope::Provider, Effect::Opens(None)), "broken", START);
    for news in one.take_news() {
        other.hear(&sent(&news), START, BEHIND);
    }
    assert_eq!(other.shut("n", START).unwrap().scope, Scope::Provider);
    assert_eq!((one.take_news(), other.take_news()), (vec![], vec![]), "once");
}

#[test]
fn whoever_has_something_to_tell_is_woken_and_nobody_else() {
    let woken = Arc::<Notify>::default();
    let is_woken = || futures::FutureExt::now_or_never(woken.notified()).is_some();
    let circuits = Circuits::new(settings(), &woken);
    fail(&circuits, "m", BAD, START);
    circuits.enter(&model("m"), START).unwrap().good(START);
    assert!(!is_woken());
    fail(&circuits, "m", BAD, START);
    assert!(is_woken());
    circuits.take_news();
    circuits.reset(START);
    assert!(!is_woken(), "the node that was asked says so, and all others hear it");
    circuits.tell_by_hand();
    assert!(is_woken());
    assert_eq!(circuits.take_news(), [News::Reset(START)]);
}

#[test]
fn a_node_that_starts_takes_over_what_is_written_down_and_has_nothing_to_add() {
    let (one, late) = (node(), node());
    open(&one, START);
    let found = written(&one.take_news());
    assert_eq!(late.compare(&found, START + 1_000, BEHIND), []);
    assert!(late.shut("m", START + 1_000).is_some());
    assert_eq!(late.take_news(), []);
    // Once its time is over it is of no use to anybody.
    let later = node();
    assert_eq!(later.compare(&found, START + 30_000, BEHIND), []);
    assert_eq!(later.shut("m", START + 30_000), None);
}

#[test]
fn what_is_not_written_down_any_more_is_written_anew() {
    let one = node();
    open(&one, START);
    let told = one.take_news();
    assert_eq!(one.compare(&Written::default(), START + 1_000, BEHIND), told, "Redis has lost it");
    assert_eq!(one.compare(&written(&told), START + 1_000, BEHIND), [], "and now it has not");
    one.enter(&model("m"), START + 30_000).unwrap().good(START + 30_000);
    let mut closed = one.take_news();
    closed.retain(|news| matches!(news, News::Word(..)));
    let put_off =
        Word { at: START + 5, state: Told::Open { until: Some(START + 60_000), firm: true }, reason: "broken" };
    let wrong = written(&[News::Word(None, put_off)]);
    assert_eq!(one.compare(&wrong, START + 31_000, BEHIND), closed, "it is open there, and is not");
    // Nobody ends it, so it is said again and again that it is not to be forgotten.
    one.open_by_hand(None, START + 32_000);
    let forever = one.compare(&Written::default(), START + 33_000, BEHIND);
    assert_eq!(one.compare(&written(&forever), START + 33_000, BEHIND), forever);
}

#[test]
fn a_reset_closes_what_was_open_before_it_and_nothing_later() {
    let (asked, other) = (node(), node());
    fail(&other, "m", of(Scope::Model, Effect::Opens(None)), START);
    let old = other.take_news();
    open(&other, START + 1);
    asked.reset(START + 5);
    asked.tell_by_hand();
    let reset = sent(&asked.take_news()[0]);
    other.hear(&reset, START + 6, BEHIND);
    assert_eq!(other.shut("m", START + 6), None);
    assert!(other.was_reset(START + 5));
    other.hear(&sent(&old[0]), START + 7, BEHIND);
    assert_eq!(other.shut("m", START + 7), None, "that was before");
    open(&other, START + 8);
    other.hear(&reset, START + 9, BEHIND);
    assert!(other.shut("m", START + 9).is_some(), "that was after");
    let missed = node();
    open(&missed, START + 1);
    let found = Written { reset_at: Some(START + 5), words: Vec::new() };
    assert_eq!(missed.compare(&found, START + 20, BEHIND), []);
    assert_eq!(missed.shut("m", START + 20), None, "also where the message was lost");
}

#[test]
fn another_upstream_of_the_same_name_takes_over_nothing_that_was_before() {
    let (before, anew) = (node(), node());
    open(&before, START);
    let news = before.take_news();
    anew.begin_anew(START + 1);
    anew.hear(&sent(&news[0]), START + 2, BEHIND);
    assert_eq!(anew.compare(&written(&news), START + 3, BEHIND), []);
    assert_eq!(anew.shut("m", START + 3), None);
}

#[test]
fn what_is_no_word_of_ours_is_not_taken_for_one() {
    let long = format!(r#"{{"node":1,"of":"{}","what":{{"reset":5}}}}"#, "p".repeat(5_000));
    for text in ["", "nonsense", "{}", r#"{"node":1,"of":"p","what":{"burn":1}}"#, r#"{"node":1,"of":"p"}"#, &long] {
        assert!(Message::read(text.as_bytes()).is_none(), "{text}");
    }
    let fields = [("provider", "x"), ("model:m", r#"{"at":"1","open":true}"#), ("reset", "y"), ("other", "1")];
    let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(Written::read(&fields), Written::default());
    // A reason of a newer version is no reason not to listen.
    let text = r#"{"node":1,"of":"p","what":{"word":{"at":5,"open":true,"until":9,"reason":"on_fire"}}}"#;
    let News::Word(None, word) = Message::read(text.as_bytes()).unwrap().news() else { panic!("a word") };
    assert_eq!((word.at, word.reason), (5, "elsewhere"));
    let long: Arc<str> = "m".repeat(1_000).into();
    assert!(Message::new(1, "p", &News::Trying(Some(long), 5)).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Bad(usize),
    Opens(usize, u64),
    Good(usize),
    Reset(usize),
    OpenByHand(usize, bool),
    Wait(i64),
    Deliver(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..3).prop_map(Step::Bad),
        1 => (0_usize..3, 1_u64..100).prop_map(|(node, wait)| Step::Opens(node, wait)),
        4 => (0_usize..3).prop_map(Step::Good),
        1 => (0_usize..3).prop_map(Step::Reset),
        1 => (0_usize..3, any::<bool>()).prop_map(|(node, ends)| Step::OpenByHand(node, ends)),
        3 => (1_i64..20_000).prop_map(Step::Wait),
        8 => (0_usize..3).prop_map(Step::Deliver),
    ]
}

/// Nodes, and what is on its way to each of them, in the order in which it was said.
struct World {
    nodes: Vec<Arc<Circuits>>,
    on_its_way: Vec<VecDeque<News>>,
    said: usize,
    now: i64,
}

impl World {
    fn tell(&mut self) {
        for (n, node) in self.nodes.iter().enumerate() {
            for news in node.take_news() {
                self.said += 1;
                let others = self.on_its_way.iter_mut().enumerate().filter(|(other, _)| *other != n);
                others.for_each(|(_, queue)| queue.push_back(sent(&news)));
            }
        }
    }

    fn deliver(&mut self, node: usize) {
        if let Some(news) = self.on_its_way[node].pop_front() {
            self.nodes[node].hear(&news, self.now, 0);
        }
    }

    fn deliver_all(&mut self) {
        for _ in 0..1_000 {
            if self.on_its_way.iter().all(VecDeque::is_empty) {
                return;
            }
            (0..3).for_each(|node| self.deliver(node));
            self.tell();
        }
    }

    /// As if the last to write anything down had been the other.
    fn compare(&mut self, one: usize, other: usize) {
        let word = *self.nodes[other].inner.lock().whole.word();
        self.nodes[one].compare(&written(&[News::Word(None, word)]), self.now, 0);
        self.tell();
    }
}

proptest! {
    #[test]
    fn whatever_happens_all_nodes_come_to_know_the_same_and_then_are_silent(steps in proptest::collection::vec(step(), 1..120)) {
        let nodes: Vec<_> = (0..3).map(|_| node()).collect();
        let mut world = World { nodes, on_its_way: vec![VecDeque::new(); 3], said: 0, now: START };
        for step in steps {
            let now = world.now;
            let enter = |node: usize| world.nodes[node].enter(&model("m"), now).ok();
            match step {
                Step::Bad(node) => enter(node).into_iter().for_each(|pass| pass.bad(BAD, "broken", now)),
                Step::Opens(node, wait) => {
                    let effect = Effect::Opens(Some(Duration::from_secs(wait)));
                    enter(node).into_iter().for_each(|pass| pass.bad(of(Scope::Provider, effect), "broken", now));
                }
                Step::Good(node) => enter(node).into_iter().for_each(|pass| pass.good(now)),
                Step::Reset(node) => {
                    world.nodes[node].reset(now);
                    world.nodes[node].tell_by_hand();
                }
                Step::OpenByHand(node, ends) => {
                    world.nodes[node].open_by_hand(ends.then_some(now + 15_000), now);
                    world.nodes[node].tell_by_hand();
                }
                // Messages cross each other, but none takes seconds.
                Step::Wait(ms) => {
                    world.deliver_all();
                    world.now += ms;
                }
                Step::Deliver(node) => world.deliver(node),
            }
            world.now += 1;
            world.tell();
        }
        let before = world.said;
        world.deliver_all();
        // What crossed on its way is set right where it is written down.
        for (one, other) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            world.compare(one, other);
        }
        world.deliver_all();
        prop_assert!(world.on_its_way.iter().all(VecDeque::is_empty), "they go on and on");
        prop_assert!(world.said - before <= 20, "{} more", world.said - before);
        let now = world.now;
        let states: Vec<_> = world.nodes.iter().map(|node| node.view(now).whole.mode == Mode::Open).collect();
        let words: Vec<_> = world.nodes.iter().map(|node| *node.inner.lock().whole.word()).collect();
        if words.iter().any(|word| word.is_in_force(now)) {
            prop_assert!(states.iter().all(|open| *open), "{words:?}");
        }
        let open: Vec<_> = words.iter().map(|word| word.is_in_force(now)).collect();
        prop_assert!(open.windows(2).all(|pair| pair[0] == pair[1]), "{words:?}");
    }
}

#[test]
fn a_reset_that_is_heard_closes_what_a_node_whose_clock_is_ahead_has_opened() {
    let (ahead, asked) = (node(), node());
    open(&ahead, START + 3_000);
    for news in ahead.take_news() {
        asked.hear(&sent(&news), START, BEHIND);
    }
    assert!(asked.shut("m", START + 10).is_some());
    asked.reset(START + 20);
    asked.tell_by_hand();
    let told = asked.take_news();
    for news in &told {
        ahead.hear(&sent(news), START + 3_030, BEHIND);
    }
    assert_eq!((asked.shut("m", START + 30), ahead.shut("m", START + 3_040)), (None, None), "{told:?}");
}
