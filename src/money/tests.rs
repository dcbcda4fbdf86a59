#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Below this a double tells neighbouring nano-dollars apart (2^23 USD).
const EXACT_IN_A_DOUBLE: i64 = (1 << 23) * Usd::NANOS_PER_USD;

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

#[test]
fn an_amount_is_shown_as_a_plain_decimal_without_trailing_zeros() {
    let shown = [
        (0, "0"),
        (1, "0.000000001"),
        (12_500_000, "0.0125"),
        (-12_500_000, "-0.0125"),
        (1_000_000_000, "1"),
        (10_000_000_000, "10"),
        (-1_200_500_000_000, "-1200.5"),
        (i64::MAX, "9223372036.854775807"),
        (i64::MIN, "-9223372036.854775808"),
    ];
    for (nanos, text) in shown {
        assert_eq!(Usd::from_nanos(nanos).to_string(), text);
        assert_eq!(usd(text).nanos(), nanos);
    }
    assert_eq!(format!("{:>8}", usd("1.5")), "     1.5");
}

#[test]
fn arithmetic_stops_at_the_ends_instead_of_wrapping() {
    let (max, min) = (Usd::MAX, Usd::from_nanos(i64::MIN));
    assert_eq!(max + Usd::from_nanos(1), max);
    assert_eq!(min - Usd::from_nanos(1), min);
    assert_eq!(-min, max);
    assert_eq!(max.saturating_mul(3), max);
    assert_eq!([max, max, usd("-1")].iter().sum::<Usd>(), max - usd("1"));
    let mut amount = usd("1.5");
    amount += usd("0.25");
    amount -= usd("2");
    assert_eq!(amount, usd("-0.25"));
}

#[test]
fn pico_dollars_are_rounded_up_once() {
    assert_eq!(Usd::from_pico_ceil(0).nanos(), 0);
    assert_eq!(Usd::from_pico_ceil(1).nanos(), 1);
    assert_eq!(Usd::from_pico_ceil(1_000).nanos(), 1);
    assert_eq!(Usd::from_pico_ceil(1_001).nanos(), 2);
    assert_eq!(Usd::from_pico_ceil(-1).nanos(), 0);
    assert_eq!(Usd::from_pico_ceil(-1_001).nanos(), -1);
    assert_eq!(Usd::from_pico_ceil(i128::MAX), Usd::MAX);
    assert_eq!(Usd::from_pico_ceil(i128::MIN).nanos(), i64::MIN);
}

#[test]
fn what_is_not_an_amount_is_refused_with_what_to_do() {
    assert_eq!("12 USD".parse::<Usd>(), Err(ParseUsdError::NotANumber));
    assert_eq!("0.0000000001".parse::<Usd>(), Err(ParseUsdError::TooPrecise));
    assert_eq!("9223372036.854775808".parse::<Usd>(), Err(ParseUsdError::OutOfRange));
    let refused = |json: &str| serde_json::from_str::<Usd>(json).unwrap_err().to_string();
    assert!(refused("0.1234567891").contains("at most 9 decimals"));
    assert!(refused("0.30000000000000004").contains("at most 9 decimals"));
    assert!(refused("1e300").contains("at most 9 223 372 036"));
    assert!(refused("18446744073709551615").contains("at most 9 223 372 036"));
    assert!(refused("\"1\"").contains("as a number"));
    assert!(refused("null").contains("as a number"));
    assert!(serde_yaml::from_str::<Usd>(".nan").unwrap_err().to_string().contains("not an amount"));
    assert!(serde_yaml::from_str::<Usd>("-.inf").is_err());
}

#[test]
fn whole_dollars_are_json_integers() {
    assert_eq!(serde_json::to_string(&usd("5")).unwrap(), "5");
    assert_eq!(serde_json::to_string(&usd("-0.0125")).unwrap(), "-0.0125");
    assert_eq!(serde_json::from_str::<Usd>("5.0").unwrap(), usd("5"));
    assert_eq!(serde_json::from_str::<Usd>("1.25e-7").unwrap().nanos(), 125);
}

proptest! {
    #[test]
    fn text_round_trips(nanos: i64) {
        prop_assert_eq!(usd(&Usd::from_nanos(nanos).to_string()).nanos(), nanos);
    }

    #[test]
    fn json_and_yaml_round_trip_exactly(nanos in -EXACT_IN_A_DOUBLE + 1..EXACT_IN_A_DOUBLE) {
        let amount = Usd::from_nanos(nanos);
        let json = serde_json::to_string(&amount).unwrap();
        prop_assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), amount);
        prop_assert_eq!(serde_json::from_value::<Usd>(serde_json::to_value(amount).unwrap()).unwrap(), amount);
        // What is written is the decimal itself, not a neighbour of it.
        prop_assert_eq!(usd(&json), amount);
        prop_assert_eq!(serde_yaml::from_str::<Usd>(&serde_yaml::to_string(&amount).unwrap()).unwrap(), amount);
        // A decimal that somebody else wrote out in full is read as it stands.
        prop_assert_eq!(serde_json::from_str::<Usd>(&amount.to_string()).unwrap(), amount);
    }

    #[test]
    fn beyond_a_doubles_reach_the_same_double_comes_out_as_went_in(nanos in EXACT_IN_A_DOUBLE..=9_000_000_000_000_000) {
        let once = serde_json::to_string(&Usd::from_nanos(nanos)).unwrap();
        let read = serde_json::from_str::<Usd>(&once).unwrap();
        prop_assert!((read.nanos() - nanos).abs() <= 1);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), once);
    }

    #[test]
    fn rounding_up_adds_less_than_a_nano_dollar(pico in -1_000_000_000_000_000_000_i128..1_000_000_000_000_000_000) {
        let over = i128::from(Usd::from_pico_ceil(pico).nanos()) * 1_000 - pico;
        prop_assert!((0..1_000).contains(&over));
    }
}
