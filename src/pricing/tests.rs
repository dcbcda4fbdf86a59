#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::ServiceTier;

mod properties;

fn price(value: Value) -> Price {
    Price::from_value(&value).unwrap()
}

fn errors(value: Value) -> Vec<String> {
    Price::from_value(&value).unwrap_err().iter().map(ToString::to_string).collect()
}

/// One rate of what is applied to so many input tokens, as it is shown.
fn rate(price: &Price, service_tier: ServiceTier, input: u64, field: &str) -> String {
    let applied = price.applied(&Usage { input, service_tier, ..Usage::default() });
    serde_json::to_value(applied.rates).unwrap()[field].to_string()
}

const SHORT: u64 = 200_000;
const LONG: u64 = 200_001;

#[test]
fn a_cache_price_left_out_follows_the_input_rate_that_applies() {
    let price = price(json!({
        "inputUsdPerMillion": 3, "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 6 }],
        "serviceTiers": { "batch": { "inputUsdPerMillion": 1.5, "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 2 }] } },
    }));
    for (tier, input, write_5m, write_1h, read) in [
        (ServiceTier::Standard, SHORT, "3.75", "6", "0.3"),
        (ServiceTier::Standard, LONG, "7.5", "12", "0.6"),
        (ServiceTier::Batch, SHORT, "1.875", "3", "0.15"),
        (ServiceTier::Batch, LONG, "2.5", "4", "0.2"),
        (ServiceTier::Flex, LONG, "7.5", "12", "0.6"),
    ] {
        assert_eq!(rate(&price, tier, input, "cacheWrite5mUsdPerMillion"), write_5m);
        assert_eq!(rate(&price, tier, input, "cacheWrite1hUsdPerMillion"), write_1h);
        assert_eq!(rate(&price, tier, input, "cacheReadUsdPerMillion"), read);
    }
}

#[test]
fn shares_of_the_smallest_price_are_exact() {
    let price = price(json!({ "inputUsdPerMillion": 0.000001 }));
    assert_eq!(rate(&price, ServiceTier::Standard, 0, "cacheReadUsdPerMillion"), "1e-7");
    assert_eq!(rate(&price, ServiceTier::Standard, 0, "cacheWrite5mUsdPerMillion"), "1.25e-6");
    // A tenth of a pico-dollar, 10 000 times over, is one nano-dollar and not ten.
    assert_eq!(cost(&price, &Usage { cache_read: 10_000, ..Usage::default() }, MULTIPLIER_ONE).nanos(), 1);
}

#[test]
fn text_prices_stand_in_for_audio_images_and_reasoning() {
    let price = price(json!({ "inputUsdPerMillion": 1, "outputUsdPerMillion": 2 }));
    for field in ["inputAudioUsdPerMillion", "inputImageUsdPerMillion"] {
        assert_eq!(rate(&price, ServiceTier::Standard, 0, field), "1");
    }
    for field in ["outputAudioUsdPerMillion", "outputImageUsdPerMillion", "reasoningUsdPerMillion"] {
        assert_eq!(rate(&price, ServiceTier::Standard, 0, field), "2");
    }
}

#[test]
fn the_whole_input_side_decides_the_context_tier_and_its_threshold_is_not_above_itself() {
    let price =
        price(json!({ "inputUsdPerMillion": 1, "contextTiers": [{ "aboveTokens": 60, "inputUsdPerMillion": 2 }] }));
    let sixty = Usage {
        input: 10,
        cache_read: 10,
        cache_write_5m: 10,
        cache_write_1h: 10,
        input_audio: 10,
        input_image: 10,
        ..Usage::default()
    };
    assert_eq!(price.applied(&sixty).context_above_tokens, None);
    for more in [
        Usage { input: 11, ..sixty },
        Usage { cache_read: 11, ..sixty },
        Usage { cache_write_5m: 11, ..sixty },
        Usage { cache_write_1h: 11, ..sixty },
        Usage { input_audio: 11, ..sixty },
        Usage { input_image: 11, ..sixty },
    ] {
        assert_eq!(price.applied(&more).context_above_tokens, Some(60));
    }
    let output =
        Usage { output: u64::MAX, reasoning: u64::MAX, output_audio: u64::MAX, output_image: u64::MAX, ..sixty };
    assert_eq!(price.applied(&output).context_above_tokens, None);
}

#[test]
fn context_tiers_are_taken_in_any_order_and_hand_down_what_the_next_leaves_out() {
    let price = price(json!({
        "inputUsdPerMillion": 1, "outputUsdPerMillion": 10, "webSearchUsd": 0.01,
        "contextTiers": [
            { "aboveTokens": 300, "inputUsdPerMillion": 4 },
            { "aboveTokens": 100, "inputUsdPerMillion": 2, "outputUsdPerMillion": 20, "webSearchUsd": 0.02 },
        ],
    }));
    for (input, expected) in
        [(100, ["1", "10", "0.01"]), (101, ["2", "20", "0.02"]), (300, ["2", "20", "0.02"]), (301, ["4", "20", "0.02"])]
    {
        let seen = ["inputUsdPerMillion", "outputUsdPerMillion", "webSearchUsd"]
            .map(|field| rate(&price, ServiceTier::Standard, input, field));
        assert_eq!(seen, expected, "{input} tokens");
    }
}

#[test]
fn a_price_left_out_of_a_context_tier_rises_with_the_text_of_its_direction() {
    let price = price(json!({
        "inputUsdPerMillion": 3, "outputUsdPerMillion": 15, "cacheReadUsdPerMillion": 0.3, "cacheWrite5mUsdPerMillion": 0,
        "reasoningUsdPerMillion": 20, "inputAudioUsdPerMillion": 9,
        "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 6, "outputUsdPerMillion": 22.5, "inputAudioUsdPerMillion": 10 }],
    }));
    let long = |field| rate(&price, ServiceTier::Standard, LONG, field);
    assert_eq!(long("cacheReadUsdPerMillion"), "0.6");
    assert_eq!(long("reasoningUsdPerMillion"), "30");
    assert_eq!(long("cacheWrite5mUsdPerMillion"), "0", "what is free stays free");
    assert_eq!(long("inputAudioUsdPerMillion"), "10", "what the tier says is not touched");
}

#[test]
fn a_cheaper_context_tier_does_not_pull_other_prices_down() {
    let price = price(json!({
        "inputUsdPerMillion": 3, "cacheReadUsdPerMillion": 0.3,
        "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 1 }],
    }));
    assert_eq!(rate(&price, ServiceTier::Standard, LONG, "inputUsdPerMillion"), "1");
    assert_eq!(rate(&price, ServiceTier::Standard, LONG, "cacheReadUsdPerMillion"), "0.3");
}

#[test]
fn what_a_service_tier_leaves_out_is_the_bases_at_that_context() {
    let price = price(json!({
        "inputUsdPerMillion": 3, "outputUsdPerMillion": 15, "cacheReadUsdPerMillion": 0.2, "requestUsd": 0.001,
        "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 6, "outputUsdPerMillion": 20, "cacheReadUsdPerMillion": 0.5 }],
        "serviceTiers": { "flex": { "inputUsdPerMillion": 1, "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 2 }] } },
    }));
    let flex = |input, field| rate(&price, ServiceTier::Flex, input, field);
    assert_eq!([flex(SHORT, "inputUsdPerMillion"), flex(LONG, "inputUsdPerMillion")], ["1", "2"]);
    assert_eq!([flex(SHORT, "outputUsdPerMillion"), flex(LONG, "outputUsdPerMillion")], ["15", "20"]);
    assert_eq!([flex(SHORT, "cacheReadUsdPerMillion"), flex(LONG, "cacheReadUsdPerMillion")], ["0.2", "0.5"]);
    assert_eq!(flex(LONG, "requestUsd"), "0.001");
}

#[test]
fn a_service_tier_without_context_tiers_costs_the_dearer_of_its_own_and_the_bases_long_price() {
    let price = price(json!({
        "inputUsdPerMillion": 2, "outputUsdPerMillion": 10, "contextTiers": [{ "aboveTokens": SHORT, "inputUsdPerMillion": 4, "outputUsdPerMillion": 15 }],
        "serviceTiers": { "priority": { "inputUsdPerMillion": 5, "outputUsdPerMillion": 12 }, "batch": { "inputUsdPerMillion": 1 } },
    }));
    assert_eq!(rate(&price, ServiceTier::Priority, SHORT, "inputUsdPerMillion"), "5");
    assert_eq!(rate(&price, ServiceTier::Priority, LONG, "inputUsdPerMillion"), "5");
    assert_eq!(rate(&price, ServiceTier::Priority, SHORT, "outputUsdPerMillion"), "12");
    assert_eq!(rate(&price, ServiceTier::Priority, LONG, "outputUsdPerMillion"), "15");
    assert_eq!(rate(&price, ServiceTier::Batch, SHORT, "inputUsdPerMillion"), "1");
    assert_eq!(rate(&price, ServiceTier::Batch, LONG, "inputUsdPerMillion"), "4");
}

#[test]
fn what_was_applied_is_shown_with_its_tiers_and_every_rate() {
    let price = price(json!({
        "inputUsdPerMillion": 2, "contextTiers": [{ "aboveTokens": 10, "inputUsdPerMillion": 4 }],
        "serviceTiers": { "priority": { "outputUsdPerMillion": 12 } },
    }));
    let applied = |tier| {
        serde_json::to_value(price.applied(&Usage { input: 11, service_tier: tier, ..Usage::default() })).unwrap()
    };
    let priority = applied(ServiceTier::Priority);
    assert_eq!((&priority["serviceTier"], &priority["contextAboveTokens"]), (&json!("priority"), &json!(10)));
    assert_eq!(
        priority["rates"],
        json!({
            "inputUsdPerMillion": 4, "outputUsdPerMillion": 12, "cacheReadUsdPerMillion": 0.4, "cacheWrite5mUsdPerMillion": 5,
            "cacheWrite1hUsdPerMillion": 8, "inputAudioUsdPerMillion": 4, "outputAudioUsdPerMillion": 12,
            "inputImageUsdPerMillion": 4, "outputImageUsdPerMillion": 12, "reasoningUsdPerMillion": 12, "requestUsd": 0,
            "webSearchUsd": 0,
        })
    );
    assert_eq!(applied(ServiceTier::Flex)["serviceTier"], json!("standard"), "no such tier: the base was applied");
}

#[test]
fn every_mistake_is_reported_with_its_path() {
    let seen = errors(json!({
        "inputUsdPerMillion": -1, "outputUsdPerMillion": 1_000_000.1, "cacheReadUsdPerMillion": 0.1234567, "requestUsd": "1",
        "webSearchUsd": 1e-10, "price": 3, "maxInputTokens": 0, "maxOutputTokens": 1.5,
        "contextTiers": [
            { "inputUsdPerMillion": 1 },
            { "aboveTokens": 5, "contextTiers": [] },
            { "aboveTokens": 5, "inputUsdPerMillion": true },
            7,
        ],
        "serviceTiers": { "flex": { "maxInputTokens": 1, "inputUsdPerMillion": 1e300, "contextTiers": [{ "aboveTokens": -1 }] }, "fast": {} },
    }));
    let expected = [
        "inputUsdPerMillion: must be a price in USD from 0 to 1000000",
        "outputUsdPerMillion: must be a price in USD from 0 to 1000000",
        "cacheReadUsdPerMillion: at most 6 decimals",
        "requestUsd: must be a number of USD",
        "webSearchUsd: at most 9 decimals",
        "contextTiers[0]: a context tier needs aboveTokens",
        "contextTiers[1].contextTiers: unknown field",
        "contextTiers[2].inputUsdPerMillion: must be a number of USD",
        "contextTiers[2].aboveTokens: another tier has the same threshold",
        "contextTiers[3]: must be an object",
        "maxInputTokens: must be a whole number of tokens, at least 1",
        "maxOutputTokens: must be a whole number of tokens, at least 1",
        "serviceTiers.flex.inputUsdPerMillion: must be a price in USD from 0 to 1000000",
        "serviceTiers.flex.contextTiers[0].aboveTokens: must be a whole number of tokens, at least 1",
        "serviceTiers.flex.maxInputTokens: unknown field",
        "serviceTiers.fast: unknown service tier: priority, flex or batch",
        "price: unknown field",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_price_of_nothing_is_refused() {
    let needs = "a price needs inputUsdPerMillion, or requestUsd for a model that is paid by the request";
    for value in [json!({}), json!({ "outputUsdPerMillion": 1 }), json!({ "inputUsdPerMillion": null })] {
        assert_eq!(errors(value), [needs]);
    }
    for value in [json!(null), json!([]), json!("free"), json!(1)] {
        assert_eq!(errors(value), ["must be an object"]);
    }
    assert!(Price::from_value(&json!({ "requestUsd": 0.01 })).is_ok());
}

#[test]
fn too_many_context_tiers_are_refused() {
    let tiers: Vec<_> = (1..=33).map(|above| json!({ "aboveTokens": above })).collect();
    assert_eq!(
        errors(json!({ "inputUsdPerMillion": 1, "contextTiers": tiers })),
        ["contextTiers: at most 32 context tiers"]
    );
}

#[test]
fn serde_reads_a_price_with_the_same_rules() {
    let read = serde_json::from_str::<Price>(r#"{"inputUsdPerMillion": 0.000001, "requestUsd": 1000}"#).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"inputUsdPerMillion":1e-6,"requestUsd":1000}"#);
    let refused =
        serde_yaml::from_str::<Price>("inputUsdPerMillion: 1\nrequestUsd: 1000.000000001").unwrap_err().to_string();
    assert!(refused.contains("requestUsd: must be a price in USD from 0 to 1000"), "{refused}");
}

#[test]
fn the_schema_names_every_field_that_is_read() {
    use utoipa::PartialSchema;
    let schema = serde_json::to_value(Price::schema()).unwrap();
    let names = |at: &str| schema.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("/properties").len(), 12 + 4);
    assert_eq!(names("/properties/contextTiers/items/properties").len(), 12 + 1);
    assert_eq!(names("/properties/serviceTiers/properties").len(), 3);
    assert_eq!(names("/properties/serviceTiers/properties/flex/properties").len(), 12 + 1);
    assert_eq!(schema["additionalProperties"], json!(false));
    let (schema, applied) = (Applied::schema(), price(json!({ "inputUsdPerMillion": 1 })).applied(&Usage::default()));
    let (schema, applied) = (serde_json::to_value(schema).unwrap(), serde_json::to_value(applied).unwrap());
    for (at, documented) in [("", "/properties"), ("/rates", "/properties/rates/properties")] {
        let keys = |value: &Value, at: &str| {
            let mut keys: Vec<_> = value.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&applied, at), keys(&schema, documented));
    }
}

#[test]
fn a_free_price_is_known_as_free() {
    assert!(
        price(json!({ "inputUsdPerMillion": 0, "serviceTiers": { "flex": { "outputUsdPerMillion": 0 } } })).is_free()
    );
    assert!(
        !price(json!({ "inputUsdPerMillion": 0, "serviceTiers": { "flex": { "outputUsdPerMillion": 1 } } })).is_free()
    );
    assert!(
        !price(json!({ "inputUsdPerMillion": 0, "contextTiers": [{ "aboveTokens": 1, "requestUsd": 1 }] })).is_free()
    );
}

#[test]
fn more_than_money_can_count_saturates() {
    let dear = price(
        json!({ "inputUsdPerMillion": 1_000_000, "outputUsdPerMillion": 1_000_000, "requestUsd": 1_000, "webSearchUsd": 1_000 }),
    );
    let all = u64::MAX;
    let usage = Usage {
        input: all,
        output: all,
        cache_read: all,
        cache_write_5m: all,
        cache_write_1h: all,
        reasoning: all,
        input_audio: all,
        output_audio: all,
        input_image: all,
        output_image: all,
        web_searches: all,
        service_tier: ServiceTier::Batch,
    };
    for multiplier in [1, MULTIPLIER_ONE, u32::MAX] {
        assert_eq!(cost(&dear, &usage, multiplier), Usd::MAX);
    }
    assert_eq!(cost(&dear, &usage, 0), Usd::ZERO);
}
