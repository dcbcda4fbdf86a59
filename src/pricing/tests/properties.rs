use std::sync::Arc;

use super::*;
use crate::pricing::{Prices, export_yaml, import};

const TOKEN_FIELDS: [&str; 10] = [
    "inputUsdPerMillion",
    "outputUsdPerMillion",
    "cacheReadUsdPerMillion",
    "cacheWrite5mUsdPerMillion",
    "cacheWrite1hUsdPerMillion",
    "inputAudioUsdPerMillion",
    "outputAudioUsdPerMillion",
    "inputImageUsdPerMillion",
    "outputImageUsdPerMillion",
    "reasoningUsdPerMillion",
];

/// Prices for some of the fields, as an object.
fn card() -> impl Strategy<Value = Value> {
    let picos = proptest::option::of(prop_oneof![0..1_000_u64, 0..=1_000_000_000_000_u64]);
    let nanos = proptest::option::of(0..=1_000_000_000_000_u64);
    (proptest::collection::vec(picos, TOKEN_FIELDS.len()), proptest::collection::vec(nanos, 2)).prop_map(
        |(picos, nanos)| {
            let decimal = |units: u64, unit: u64| serde_json::from_str::<Value>(&text(units, unit)).unwrap();
            let tokens = TOKEN_FIELDS
                .iter()
                .zip(picos)
                .map(|(field, picos)| (*field, picos.map(|picos| decimal(picos, 1_000_000))));
            let calls = ["requestUsd", "webSearchUsd"].into_iter().zip(nanos);
            let calls = calls.map(|(field, nanos)| (field, nanos.map(|nanos| decimal(nanos, 1_000_000_000))));
            tokens
                .chain(calls)
                .filter_map(|(field, value)| Some((field.to_owned(), value?)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        },
    )
}

fn text(units: u64, unit: u64) -> String {
    format!("{}.{:0width$}", units / unit, units % unit, width = unit.ilog10() as usize)
}

fn tiered() -> impl Strategy<Value = Value> {
    (card(), proptest::collection::btree_map(1..2_000_000_u64, card(), 0..4)).prop_map(|(mut tiered, contexts)| {
        let contexts = contexts.into_iter().map(|(above, mut tier)| {
            tier["aboveTokens"] = json!(above);
            tier
        });
        tiered["contextTiers"] = contexts.collect();
        tiered
    })
}

fn any_price() -> impl Strategy<Value = Price> {
    (tiered(), proptest::collection::vec(proptest::option::of(tiered()), 3), proptest::option::of(1..(1_u64 << 53)))
        .prop_map(|(mut value, services, tokens)| {
            if value.get("inputUsdPerMillion").is_none() {
                value["inputUsdPerMillion"] = json!(1);
            }
            let services = ["priority", "flex", "batch"].into_iter().zip(services);
            value["serviceTiers"] = services
                .filter_map(|(name, tiered)| Some((name.to_owned(), tiered?)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            value["maxInputTokens"] = json!(tokens);
            price(value)
        })
}

fn flat_price() -> impl Strategy<Value = Price> {
    card().prop_map(|mut card| {
        card["requestUsd"] = json!(null);
        if card.get("inputUsdPerMillion").is_none() {
            card["inputUsdPerMillion"] = json!(1);
        }
        price(card)
    })
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, 0..2_000_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn any_usage(tokens: impl Strategy<Value = u64>) -> impl Strategy<Value = Usage> {
    let tier = prop_oneof![
        Just(ServiceTier::Standard),
        Just(ServiceTier::Priority),
        Just(ServiceTier::Flex),
        Just(ServiceTier::Batch)
    ];
    let counts = proptest::collection::vec(tokens, Usage::COUNTS);
    (counts, tier).prop_map(|(counts, service_tier)| Usage::of_counts(counts.try_into().unwrap(), service_tier))
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_is_negative(price in any_price(), usage in any_usage(tokens()), multiplier: u32) {
        prop_assert!(cost(&price, &usage, multiplier) >= Usd::ZERO);
        prop_assert_eq!(cost(&price, &usage, 0), Usd::ZERO);
    }

    #[test]
    fn more_tokens_of_any_kind_never_cost_less(
        price in flat_price(), usage_before in any_usage(tokens()), kind in 0..11_usize, more in tokens(), multiplier: u32,
    ) {
        let mut after = usage_before.counts();
        after[kind] = after[kind].saturating_add(more);
        let after = Usage::of_counts(after, usage_before.service_tier);
        prop_assert!(cost(&price, &after, multiplier) >= cost(&price, &usage_before, multiplier));
    }

    #[test]
    fn a_longer_prompt_never_costs_less_where_no_tier_is_cheaper(
        (base, raised) in (card(), 1..4_u32), service in card(), below in 0..300_u64, kind in 0..11_usize, more in 1..300_u64,
    ) {
        // A tier that multiplies some of the base's prices and leaves the others out.
        let mut value = base.clone();
        value["inputUsdPerMillion"] = json!(3);
        value["contextTiers"] = json!([{ "aboveTokens": 200, "inputUsdPerMillion": 3 * raised, "outputUsdPerMillion": null }]);
        value["serviceTiers"] = json!({ "priority": service });
        let price = price(value);
        for tier in [ServiceTier::Standard, ServiceTier::Priority] {
            let mut some = [below; 11];
            let before = cost(&price, &Usage::of_counts(some, tier), MULTIPLIER_ONE);
            some[kind] += more;
            prop_assert!(cost(&price, &Usage::of_counts(some, tier), MULTIPLIER_ONE) >= before);
        }
    }

    #[test]
    fn a_request_in_two_parts_costs_the_same_but_for_the_rounding(
        price in flat_price(), one in any_usage(0..1_000_000_u64), two in any_usage(0..1_000_000_u64), multiplier in 0..10_000_000_u32,
    ) {
        let two = Usage::of_counts(two.counts(), one.service_tier);
        let both: Vec<u64> = one.counts().iter().zip(two.counts()).map(|(one, two)| one + two).collect();
        let whole = cost(&price, &Usage::of_counts(both.try_into().unwrap(), one.service_tier), multiplier);
        let parts = cost(&price, &one, multiplier) + cost(&price, &two, multiplier);
        prop_assert!((0..=1).contains(&(parts - whole).nanos()), "{parts} in parts, {whole} as a whole");
    }

    #[test]
    fn a_multiplier_scales_the_cost_and_one_changes_nothing(price in any_price(), usage in any_usage(0..10_000_u64), times in 1..100_u32) {
        let once = cost(&price, &usage, MULTIPLIER_ONE);
        let many = cost(&price, &usage, MULTIPLIER_ONE * times);
        // Rounded up after the multiplication, not before it; and never more than fits.
        let (most, times) = (i128::from(once.nanos()) * i128::from(times), i128::from(times));
        let fits = |nanos: i128| nanos.min(i64::MAX.into());
        let many = i128::from(many.nanos());
        prop_assert!(many <= fits(most) && many >= fits(most - times + 1));
    }

    #[test]
    fn nothing_within_the_bounds_costs_more_than_the_ceiling(
        price in any_price(), used in any_usage(prop_oneof![Just(0), 0..800_000_u64]), spare in 0..2_000_000_u64, multiplier: u32,
    ) {
        let bounds = Bounds {
            input: used.input_total() + spare,
            output: used.output_total() + spare,
            web_searches: used.web_searches + spare,
            cache_write_5m: used.cache_write_5m > 0,
            cache_write_1h: used.cache_write_1h > 0,
            input_audio: used.input_audio > 0,
            input_image: used.input_image > 0,
            output_audio: used.output_audio > 0,
            output_image: used.output_image > 0,
            priority: used.service_tier == ServiceTier::Priority,
        };
        prop_assert!(cost(&price, &used, multiplier) <= price.ceiling(&bounds, multiplier));
    }

    #[test]
    fn a_ceiling_is_what_some_usage_within_the_bounds_costs(price in any_price(), input in 0..2_500_000_u64, output in 0..100_u64) {
        let bounds = Bounds { input, output, ..Bounds::default() };
        let ceiling = price.ceiling(&bounds, MULTIPLIER_ONE);
        // The rates change only where a prompt passes a threshold, so no other lengths have to be tried.
        let value = serde_json::to_value(&price).unwrap();
        let tiered = [&value, &value["serviceTiers"]["flex"], &value["serviceTiers"]["batch"], &value["serviceTiers"]["priority"]];
        let thresholds = tiered.into_iter().filter_map(|tiered| tiered["contextTiers"].as_array()).flatten();
        let lengths: Vec<u64> =
            thresholds.filter_map(|tier| tier["aboveTokens"].as_u64()).filter(|above| *above < input).chain([input]).collect();
        let tiers = [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Batch];
        let costs = tiers.into_iter().flat_map(|service_tier| lengths.iter().map(move |input| (service_tier, *input))).flat_map(
            |(service_tier, input)| {
                let base = Usage { service_tier, ..Usage::default() };
                [Usage { input, ..base }, Usage { cache_read: input, ..base }]
                    .into_iter()
                    .flat_map(|usage| [Usage { output, ..usage }, Usage { reasoning: output, ..usage }])
            },
        );
        let dearest = costs.map(|usage| cost(&price, &usage, MULTIPLIER_ONE)).max();
        prop_assert_eq!(dearest, Some(ceiling));
    }

    #[test]
    fn a_price_comes_back_from_json_and_from_an_exported_list_as_it_was(one in any_price(), two in any_price()) {
        prop_assert_eq!(&serde_json::from_str::<Price>(&serde_json::to_string(&one).unwrap()).unwrap(), &one);
        prop_assert_eq!(&serde_yaml::from_str::<Price>(&serde_yaml::to_string(&one).unwrap()).unwrap(), &one);
        let prices = Prices::from([("a/b: \"c\" #".to_owned(), Arc::new(one)), ("y".to_owned(), Arc::new(two))]);
        let imported = import(&export_yaml("Two\n\nprices", &prices)).unwrap();
        prop_assert_eq!(imported.report.skipped, []);
        prop_assert_eq!(imported.prices, prices);
    }

    #[test]
    fn any_text_is_imported_or_refused_without_a_panic(text in "[ -~\\n]{0,200}") {
        let _ = import(&text);
    }
}
