//! What is expected before and after something was learnt.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// The expected tokens of prompt and answer of a chat request with these members.
fn expect(learnt: &Learnt, asker: Asker<'_>, members: &str) -> (u64, u64) {
    // Prices that let the two be told apart.
    let price = price(&json!({ "inputUsdPerMillion": 0.001, "outputUsdPerMillion": 1_000, "maxOutputTokens": 50_000 }));
    let nanos = u64::try_from(expected(&asking(CHAT, members), &terms(&price), learnt, asker).nanos()).unwrap();
    (nanos % 1_000_000, nanos / 1_000_000)
}

/// Members that make a body of so many bytes.
fn padded(bytes: usize) -> String {
    let padding = bytes - asking(CHAT, r#""user":"""#).body_bytes() as usize;
    format!(r#""user":"{}""#, "x".repeat(padding))
}

fn taught(samples: &[(u64, u64, u64)]) -> Learnt {
    let learnt = Learnt::new(1);
    for (bytes, input, output) in samples {
        learnt.record(ASKER, *bytes, &usage(*input, *output));
    }
    learnt
}

#[test]
fn before_twenty_answers_a_token_has_four_bytes_and_an_answer_a_thousand_tokens() {
    for seen in [0, 1, 19] {
        let learnt = taught(&vec![(1_000, 900, 9); seen]);
        assert_eq!(expect(&learnt, ASKER, &padded(4_001)), (1_001, 1_000));
        let (_, output) = expect(&learnt, ASKER, r#""max_tokens":30"#);
        assert_eq!(output, 30, "the request's own bound");
        let (_, output) = expect(&learnt, ASKER, r#""n":3"#);
        assert_eq!(output, 3_000);
    }
}

#[test]
fn after_twenty_answers_their_means_count() {
    let learnt = taught(&[(1_000, 500, 3_000); 20]);
    assert_eq!(expect(&learnt, ASKER, &padded(4_000)), (2_000, 3_000));
    assert_eq!(expect(&learnt, ASKER, r#""max_tokens":30"#).1, 30);
    let cached = Learnt::new(1);
    for _ in 0..20 {
        let usage = Usage { input: 100, cache_read: 400, output: 1_000, reasoning: 2_000, ..Usage::default() };
        cached.record(ASKER, 1_000, &usage);
    }
    assert_eq!(expect(&cached, ASKER, &padded(4_000)), (2_000, 3_000), "tokens of all kinds");
}

#[test]
fn a_learnt_prompt_is_no_longer_than_the_body_allows() {
    let learnt = taught(&[(10, 1_000_000, 1); 20]);
    assert_eq!(expect(&learnt, ASKER, &padded(100)).0, 100 + OVERHEAD);
}

#[test]
fn small_answers_do_not_prepare_a_burst_while_a_large_one_is_among_the_last_twenty() {
    let learnt = taught(&[(1_000, 10, 1); 200]);
    learnt.record(ASKER, 1_000, &usage(800, 40_000));
    for _ in 0..19 {
        assert_eq!(expect(&learnt, ASKER, &padded(1_000)), (200, 10_000), "a quarter of the largest");
        learnt.record(ASKER, 1_000, &usage(10, 1));
    }
    learnt.record(ASKER, 1_000, &usage(10, 1));
    let (input, output) = expect(&learnt, ASKER, &padded(1_000));
    assert!(input < 20, "{input}");
    assert_eq!(output, 1_000, "no less than of a key that nothing is known of");
}

#[test]
fn old_answers_fade() {
    let learnt = taught(&[(1_000, 1_000, 160_000); 300]);
    for _ in 0..3_000 {
        learnt.record(ASKER, 1_000, &usage(250, 2_000));
    }
    let (input, output) = expect(&learnt, ASKER, &padded(1_000));
    assert!((250..=252).contains(&input) && (2_000..=2_100).contains(&output), "{input} {output}");
}

#[test]
fn models_and_keys_learn_apart_and_a_new_key_begins_with_what_is_known_of_the_model() {
    let learnt = Learnt::new(64);
    let other = Asker { key: 8, ..ASKER };
    for _ in 0..20 {
        learnt.record(ASKER, 1_000, &usage(500, 3_000));
        learnt.record(other, 1_000, &usage(500, 5_000));
    }
    assert_eq!((expect(&learnt, ASKER, "").1, expect(&learnt, other, "").1), (3_000, 5_000));
    assert_eq!(expect(&learnt, Asker { key: 9, ..ASKER }, "").1, 4_000);
    assert_eq!(expect(&learnt, Asker { model: "other", ..ASKER }, "").1, 1_000);
}

#[test]
fn a_flood_of_keys_takes_bounded_room_and_leaves_what_is_in_use() {
    let learnt = Learnt::new(32);
    for _ in 0..20 {
        learnt.record(ASKER, 1_000, &usage(500, 3_000));
    }
    for key in 0..10_000 {
        learnt.record(Asker { key, model: "flood" }, 1_000, &usage(1, 1));
        assert_eq!(expect(&learnt, ASKER, "").1, 3_000, "forgotten after {key} others");
    }
    assert!(learnt.known() <= 32);
}

#[test]
fn answers_of_many_threads_are_all_counted() {
    let learnt = Arc::new(Learnt::new(8));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let learnt = Arc::clone(&learnt);
            std::thread::spawn(move || (0..5).for_each(|_| learnt.record(ASKER, 1_000, &usage(500, 3_000))))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(expect(&learnt, ASKER, "").1, 3_000, "with one answer less it would be 1 000");
}

proptest! {
    #[test]
    fn nothing_that_is_recorded_panics_or_passes_the_bounds_of_the_request(
        samples in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..60), most in 1..40_000_u64,
    ) {
        let learnt = taught(&samples);
        let (input, output) = expect(&learnt, ASKER, &format!(r#""max_tokens":{most}"#));
        prop_assert!(input <= 1_000 && output <= most, "{} {}", input, output);
    }

    #[test]
    fn the_expected_is_never_above_the_most(
        samples in proptest::collection::vec((1..10_000_u64, 0..20_000_u64, 0..20_000_u64), 0..40), most in 1..40_000_u64,
    ) {
        let (price, learnt) = (price(&with_maxima(100_000, 40_000)), taught(&samples));
        let request = asking(CHAT, &format!(r#""max_tokens":{most},"tools":[{{"type":"function"}}]"#));
        let expected = expected(&request, &terms(&price), &learnt, ASKER);
        prop_assert!(expected <= worst_case(&request, &terms(&price)).unwrap());
    }
}
