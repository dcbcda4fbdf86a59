use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const START: i64 = 1_767_225_600_000;

const FIFTH: Ratio = Ratio::from_ppm(200_000);

#[test]
fn an_outage_is_not_doubled() {
    let budget = RetryBudget::default();
    let mut retried = 0;
    for number in 0..10_000 {
        let now = START + number;
        budget.asked(now);
        // Every attempt fails.
        retried += u32::from(budget.may_retry(FIFTH, now));
    }
    assert_eq!(retried, 2_000 + ALWAYS);
}

#[test]
fn a_quiet_gateway_may_retry_all_the_same() {
    let budget = RetryBudget::default();
    budget.asked(START);
    let allowed = (0..100).filter(|_| budget.may_retry(FIFTH, START)).count();
    assert_eq!(allowed, ALWAYS as usize);
    assert!(!budget.may_retry(FIFTH, START + 8_999));
    assert!(budget.may_retry(FIFTH, START + 10_000), "what is over is forgotten");
}

#[test]
fn calm_traffic_saves_nothing_up_for_later() {
    let budget = RetryBudget::default();
    for number in 0..60_000 {
        budget.asked(START + number);
    }
    let now = START + 60_000;
    let allowed = (0..100_000).filter(|_| budget.may_retry(FIFTH, now)).count();
    assert!((1_800..=2_010).contains(&allowed), "a fifth of ten seconds: {allowed}");
}

#[test]
fn pauses_are_anywhere_below_a_bound_that_doubles() {
    let mut rng = StdRng::seed_from_u64(1);
    for (failures, most) in [(1, 100), (2, 200), (3, 400), (5, 1_600), (6, 2_000), (60, 2_000), (u32::MAX, 2_000)] {
        let pauses: Vec<_> = (0..2_000).map(|_| pause(failures, &mut rng).as_millis()).collect();
        assert!(pauses.iter().all(|ms| *ms <= most), "{failures}");
        let mean = pauses.iter().sum::<u128>() / 2_000;
        assert!(mean > most * 45 / 100 && mean < most * 55 / 100, "{failures}: {mean}");
    }
}

#[test]
fn all_attempts_share_one_deadline() {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let deadline = Deadline::new(start, Duration::from_secs(5));
    assert_eq!(deadline.at(), Some(after(5_000)));
    assert_eq!(deadline.left(after(2_000)), Some(Duration::from_secs(3)));
    assert!(deadline.allows(Duration::from_millis(2_999), after(2_000)));
    assert!(!deadline.allows(Duration::from_secs(3), after(2_000)), "nothing would be left");
    assert_eq!(deadline.left(after(9_000)), Some(Duration::ZERO));
    assert!(!deadline.allows(Duration::ZERO, after(5_000)));
    for never in [Deadline::new(start, Duration::ZERO), Deadline::new(start, Duration::MAX)] {
        assert_eq!((never.at(), never.left(after(1_000_000))), (None, None));
        assert!(never.allows(Duration::MAX, after(1_000_000)));
    }
}

proptest! {
    /// Whatever the traffic: within any stretch that is counted as one, retries are a share of requests, and a few.
    #[test]
    fn retries_stay_within_their_share(gaps in proptest::collection::vec((0_i64..400, any::<bool>()), 1..400), ppm in 0_u32..=1_000_000) {
        let budget = RetryBudget::default();
        let (mut now, mut asked, mut retried) = (START, Vec::new(), Vec::new());
        for (gap, is_request) in gaps {
            now += gap;
            let counted = |all: &[i64]| all.iter().filter(|at| now.div_euclid(1_000) - at.div_euclid(1_000) < 10).count();
            if is_request {
                budget.asked(now);
                asked.push(now);
            } else {
                let within = counted(&retried) < counted(&asked) * ppm as usize / 1_000_000 + ALWAYS as usize;
                prop_assert_eq!(budget.may_retry(Ratio::from_ppm(ppm), now), within);
                if within {
                    retried.push(now);
                }
            }
        }
    }
}
