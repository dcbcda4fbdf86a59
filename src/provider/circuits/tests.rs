#![allow(clippy::unwrap_used, reason = "tests")]

mod nodes;

use std::time::Duration;

use super::*;
use crate::config::Ratio;
use crate::provider::failure::Effect;

const START: i64 = 1_767_225_600_000;

fn settings() -> Settings {
    Settings {
        failures: 2,
        ratio: Ratio::from_ppm(500_000),
        window: Duration::from_secs(10),
        open: Duration::from_secs(30),
        half_open: 1,
    }
}

fn of(scope: Scope, effect: Effect) -> Blame {
    Blame { scope, effect }
}

fn model(name: &str) -> Arc<str> {
    name.into()
}

#[test]
fn what_is_said_about_one_model_keeps_out_only_that_model() {
    let circuits = Circuits::new(settings(), &Arc::default());
    let (gone, there) = (model("gone"), model("there"));
    circuits.enter(&gone, START).unwrap().bad(of(Scope::Model, Effect::Opens(None)), "upstream_status", START);
    let shut = Shut { scope: Scope::Model, until: Some(START + 30_000) };
    assert_eq!(circuits.shut("gone", START), Some(shut));
    assert_eq!(circuits.enter(&gone, START).err(), Some(shut));
    assert_eq!(circuits.shut("there", START), None);
    circuits.enter(&there, START).unwrap().good(START);
    // When its time is over one trial goes through, and closes it.
    let later = START + 30_000;
    let trial = circuits.enter(&gone, later).unwrap();
    assert_eq!(circuits.enter(&gone, later).err(), Some(Shut { scope: Scope::Model, until: None }));
    trial.good(later);
    assert_eq!(circuits.shut("gone", later), None);
    assert!(!circuits.disturbed.load(Ordering::Acquire), "nothing is looked at any more");
}

#[test]
fn a_provider_that_fails_keeps_out_every_model() {
    let circuits = Circuits::new(settings(), &Arc::default());
    for name in ["a", "b"] {
        circuits.enter(&model(name), START).unwrap().bad(of(Scope::Provider, Effect::Counts), "broken", START);
    }
    let shut = Shut { scope: Scope::Provider, until: Some(START + 30_000) };
    assert_eq!(circuits.shut("c", START), Some(shut));
    circuits.reset(START);
    assert_eq!(circuits.shut("c", START), None);
}

#[test]
fn failures_of_a_model_add_up() {
    let circuits = Circuits::new(settings(), &Arc::default());
    let model = model("m");
    circuits.enter(&model, START).unwrap().bad(of(Scope::Model, Effect::Counts), "upstream_status", START);
    assert_eq!(circuits.shut("m", START), None);
    circuits.enter(&model, START).unwrap().bad(of(Scope::Model, Effect::Counts), "upstream_status", START);
    assert_eq!(circuits.shut("m", START).map(|shut| shut.scope), Some(Scope::Model));
}

#[test]
fn a_request_that_is_dropped_says_nothing_and_frees_its_place() {
    let circuits = Circuits::new(settings(), &Arc::default());
    let model = model("m");
    circuits.open_by_hand(Some(START + 1), START);
    assert!(circuits.enter(&model, START).is_err());
    let trial = circuits.enter(&model, START + 1).unwrap();
    assert!(circuits.enter(&model, START + 1).is_err());
    drop(trial);
    assert_eq!(circuits.view(START + 1).whole.mode, Mode::HalfOpen);
    let mut trial = circuits.enter(&model, START + 1).unwrap();
    trial.answered(START + 2);
    assert_eq!(circuits.view(START + 2).whole.mode, Mode::Closed, "its answer has begun");
    trial.good(START + 3);
    let view = circuits.view(START + 3);
    assert_eq!((view.whole.good, view.whole.bad), (1, 0), "it counts once");
}

#[test]
fn clients_cannot_make_any_number_of_circuits() {
    let circuits = Circuits::new(settings(), &Arc::default());
    for number in 0..1_000 {
        let at = START + number;
        let pass = circuits.enter(&model(&format!("m{number}")), at).unwrap();
        pass.bad(of(Scope::Model, Effect::Counts), "upstream_status", at);
    }
    assert_eq!(circuits.view(START).models.len(), MODELS);
    // What is over makes room.
    let later = START + 60_000;
    circuits.enter(&model("new"), later).unwrap().bad(of(Scope::Model, Effect::Opens(None)), "upstream_status", later);
    assert!(circuits.shut("new", later).is_some());
    assert_eq!(circuits.view(later).models.len(), 1);
}

#[test]
fn names_that_somebody_made_up_do_not_keep_others_from_being_watched_for_ever() {
    let circuits = Circuits::new(settings(), &Arc::default());
    for number in 0..MODELS {
        let pass = circuits.enter(&model(&format!("made-up-{number}")), START).unwrap();
        pass.bad(of(Scope::Model, Effect::Opens(None)), "upstream_status", START);
    }
    let fails = |name, now| {
        circuits.enter(&model(name), now).unwrap().bad(of(Scope::Model, Effect::Opens(None)), "upstream_status", now);
        circuits.shut(name, now).is_some()
    };
    assert!(!fails("real", START + 1_000), "there is no room");
    assert!(fails("real", START + 30_000), "they are not left alone any more");
}

#[test]
fn what_a_late_answer_says_about_a_model_is_heard_although_it_is_open() {
    let circuits = Circuits::new(settings(), &Arc::default());
    let model = model("m");
    let late = circuits.enter(&model, START).unwrap();
    circuits.enter(&model, START).unwrap().bad(of(Scope::Model, Effect::Opens(None)), "upstream_status", START);
    late.bad(of(Scope::Model, Effect::Opens(Some(Duration::from_secs(90)))), "upstream_status", START);
    assert_eq!(circuits.shut("m", START).unwrap().until, Some(START + 90_000));
}
