#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

#[test]
fn a_part_that_is_larger_than_the_whole_leaves_nothing_negative() {
    let usage =
        Totals { prompt: 10, completion: 5, cached: 20, input_audio: 7, output_audio: 9, ..Totals::default() }.usage();
    assert_eq!(usage, Usage { cache_read: 20, output_audio: 5, ..Usage::default() });
}

#[test]
fn reasoning_that_only_the_total_shows_is_paid_for() {
    let usage = Totals { prompt: 5, completion: 10, total: 815, ..Totals::default() }.usage();
    assert_eq!(usage, Usage { input: 5, output: 10, reasoning: 800, ..Usage::default() });
}

#[test]
fn reasoning_and_cache_may_both_be_beside() {
    let usage = Totals { prompt: 5, completion: 10, total: 75, reasoning: 20, cached: 40, ..Totals::default() }.usage();
    assert_eq!(usage, Usage { input: 5, output: 10, cache_read: 40, reasoning: 20, ..Usage::default() });
}

proptest! {
    #[test]
    fn parts_of_honest_totals_add_up(
        fresh in 0_u64..1000, cached in 0_u64..1000, write in 0_u64..1000, audio in 0_u64..1000,
        text in 0_u64..1000, reasoning in 0_u64..1000, spoken in 0_u64..1000, says_total in any::<bool>(),
    ) {
        let prompt = fresh + cached + write + audio;
        let completion = text + reasoning + spoken;
        let total = if says_total { prompt + completion } else { 0 };
        let usage = Totals {
            prompt, completion, total, cached, cache_write: write, input_audio: audio, reasoning, output_audio: spoken,
            ..Totals::default()
        }
        .usage();
        prop_assert_eq!((usage.input_total(), usage.output_total()), (prompt, completion));
        prop_assert_eq!((usage.input, usage.output), (fresh, text));
    }

    #[test]
    fn any_numbers_are_survived(numbers in prop::array::uniform10(0_u64..=1 << 40)) {
        let [prompt, completion, total, cached, cache_write, input_audio, input_image, reasoning, output_audio, output_image] = numbers;
        let usage = Totals {
            prompt, completion, total, cached, cache_write, input_audio, input_image, reasoning, output_audio, output_image,
        }
        .usage();
        prop_assert!(usage.input <= prompt && usage.output <= completion);
        prop_assert!(usage.input_audio <= input_audio && usage.output_image <= output_image);
    }
}
