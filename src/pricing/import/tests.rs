#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use serde_json::json;

use super::*;
use crate::pricing::export_yaml;

/// Imports one entry of the public list and gives its price as JSON.
fn public(entry: Value) -> Value {
    let imported = import(&json!({ "m": entry }).to_string()).unwrap();
    assert_eq!(imported.report.skipped, []);
    serde_json::to_value(&imported.prices["m"]).unwrap()
}

/// Why an entry was left out.
fn skipped(entry: Value) -> String {
    let imported = import(
        &json!({ "m": entry, "good": { "inputUsdPerMillion": 1, "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6 } })
        .to_string(),
    )
    .unwrap();
    assert_eq!(imported.prices.keys().collect::<Vec<_>>(), ["good"], "one bad entry must not stop the others");
    assert_eq!(imported.report.imported, 1);
    imported.report.skipped[0].reason.clone()
}

fn ignored(entry: Value) -> Vec<String> {
    import(&json!({ "m": entry }).to_string()).unwrap().report.ignored_fields.into_keys().collect()
}

#[test]
fn prices_of_the_public_list_are_exact() {
    let price = public(json!({
        "mode": "chat", "input_cost_per_token": 1.25e-07, "output_cost_per_token": 0.00001, "cache_read_input_token_cost": 6e-9,
        "max_input_tokens": 1000.0, "max_output_tokens": 5, "max_tokens": 7,
    }));
    assert_eq!(
        price,
        json!({ "inputUsdPerMillion": 0.125, "outputUsdPerMillion": 10, "cacheReadUsdPerMillion": 0.006,
            "maxInputTokens": 1000, "maxOutputTokens": 5 })
    );
}

#[test]
fn the_noise_of_floats_is_taken_away_and_finer_prices_are_rounded_up() {
    let input = |text: &str| {
        let list = format!(r#"{{"m": {{"mode": "embedding", "input_cost_per_token": {text}}}}}"#);
        serde_json::to_value(&import(&list).unwrap().prices["m"]).unwrap()["inputUsdPerMillion"].to_string()
    };
    assert_eq!(input("3.0000000000000004e-07"), "0.3");
    assert_eq!(input("2.9999999999999997e-07"), "0.3");
    assert_eq!(input("3.333333333333333e-08"), "0.033334");
}

#[test]
fn service_tiers_and_context_tiers_combine() {
    let price = public(json!({
        "mode": "chat", "input_cost_per_token": 4e-6, "output_cost_per_token": 2e-5,
        "input_cost_per_token_above_272k_tokens": 8e-6, "output_cost_per_token_above_272k_tokens": 3e-5,
        "input_cost_per_token_above_128k_tokens": 5e-6,
        "input_cost_per_token_priority": 8e-6, "output_cost_per_token_priority": 4e-5,
        "input_cost_per_token_above_272k_tokens_priority": 16e-6,
        "input_cost_per_token_flex": 2e-6, "output_cost_per_token_batches": 1e-5,
    }));
    assert_eq!(
        price,
        json!({
            "inputUsdPerMillion": 4, "outputUsdPerMillion": 20,
            "contextTiers": [
                { "aboveTokens": 128000, "inputUsdPerMillion": 5 },
                { "aboveTokens": 272000, "inputUsdPerMillion": 8, "outputUsdPerMillion": 30 },
            ],
            "serviceTiers": {
                "priority": { "inputUsdPerMillion": 8, "outputUsdPerMillion": 40,
                    "contextTiers": [{ "aboveTokens": 272000, "inputUsdPerMillion": 16 }] },
                "flex": { "inputUsdPerMillion": 2 },
                "batch": { "outputUsdPerMillion": 10 },
            },
        })
    );
}

#[test]
fn cache_writes_of_an_hour_have_their_own_context_tier() {
    let price = public(json!({
        "mode": "chat", "input_cost_per_token": 1e-7, "output_cost_per_token": 5e-7,
        "cache_creation_input_token_cost": 1.25e-7, "cache_creation_input_token_cost_above_1hr": 2e-7,
        "cache_creation_input_token_cost_above_1hr_above_100k_tokens": 1e-6,
    }));
    assert_eq!(price["cacheWrite5mUsdPerMillion"], json!(0.125));
    assert_eq!(price["cacheWrite1hUsdPerMillion"], json!(0.2));
    assert_eq!(price["contextTiers"], json!([{ "aboveTokens": 100000, "cacheWrite1hUsdPerMillion": 1 }]));
}

#[test]
fn audio_image_reasoning_request_and_search_prices_are_read() {
    let price = public(json!({
        "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "input_cost_per_audio_token": 3e-6,
        "output_cost_per_audio_token": 4e-6, "input_cost_per_image_token": 5e-6, "output_cost_per_image_token": 6e-6,
        "output_cost_per_reasoning_token": 7e-6, "input_cost_per_request": 0.005,
        "search_context_cost_per_query":
            { "search_context_size_low": 0.03, "search_context_size_high": 0.05, "search_context_size_medium": 0.035 },
    }));
    assert_eq!(
        price,
        json!({
            "inputUsdPerMillion": 1, "outputUsdPerMillion": 2, "inputAudioUsdPerMillion": 3, "outputAudioUsdPerMillion": 4,
            "inputImageUsdPerMillion": 5, "outputImageUsdPerMillion": 6, "reasoningUsdPerMillion": 7, "requestUsd": 0.005,
            "webSearchUsd": 0.05,
        })
    );
}

#[test]
fn a_list_of_ranges_becomes_context_tiers() {
    let price = public(json!({
        "mode": "chat",
        "tiered_pricing": [
            { "range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-6, "output_cost_per_token": 1.2e-5,
              "output_cost_per_reasoning_token": 2e-5, "cache_read_input_token_cost": 2e-7 },
            { "range": [0, 32000.0], "input_cost_per_token": 1.2e-6, "output_cost_per_token": 6e-6 },
        ],
    }));
    assert_eq!(
        price,
        json!({
            "inputUsdPerMillion": 1.2, "outputUsdPerMillion": 6,
            "contextTiers": [{ "aboveTokens": 32000, "inputUsdPerMillion": 2.4, "outputUsdPerMillion": 12,
                "reasoningUsdPerMillion": 20 }],
        })
    );
}

#[test]
fn nothing_is_free_below_the_first_range() {
    let ranges = json!([{ "range": [1000, 2000], "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6 }]);
    let price = public(json!({ "mode": "chat", "tiered_pricing": ranges }));
    assert_eq!(price, json!({ "inputUsdPerMillion": 1, "outputUsdPerMillion": 1 }));
}

#[test]
fn a_cache_read_that_is_named_twice_costs_the_dearer_price() {
    let entry = |hit: f64, read: f64| {
        public(json!({ "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
            "input_cost_per_token_cache_hit": hit, "cache_read_input_token_cost": read }))["cacheReadUsdPerMillion"]
            .clone()
    };
    assert_eq!(entry(1e-7, 2e-7), json!(0.2));
    assert_eq!(entry(2e-7, 1e-7), json!(0.2));
}

#[test]
fn what_is_not_charged_for_is_named() {
    let fields = ignored(json!({
        "mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
        "input_cost_per_token_ultrafast": 1e-5, "output_cost_per_token_above_272k_tokens_decisions": 0,
        "off_peak_pricing": { "input_cost_per_token": 1e-9 }, "explicit_cache_read_input_token_cost": 1e-8,
        "output_cost_per_image": 0.1, "provider_specific_entry": { "us": 1.1 },
        "regional_processing_uplift_multiplier_eu": 1.1, "supports_vision": true, "input_cost_per_second": null,
        "cache_creation_input_token_cost_above_200k_tokens": 2.5e-7,
    }));
    assert_eq!(
        fields,
        [
            "cacheWrite5mUsdPerMillion above 200000 tokens without a flat price",
            "explicit_cache_read_input_token_cost",
            "input_cost_per_token_ultrafast",
            "off_peak_pricing",
            "output_cost_per_image",
            "output_cost_per_token_above_272k_tokens_decisions",
            "provider_specific_entry",
            "regional_processing_uplift_multiplier_eu",
        ]
    );
}

#[test]
fn an_entry_that_cannot_be_charged_is_skipped_with_its_reason() {
    let chat = |field: &str, value: Value| {
        let mut entry = json!({ "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6 });
        entry[field] = value;
        skipped(entry)
    };
    assert_eq!(
        skipped(json!({ "mode": "realtime", "input_cost_per_token": 1e-6 })),
        "models of the mode `realtime` are not served"
    );
    assert_eq!(skipped(json!({ "mode": "chat", "input_cost_per_character": 1e-6 })), "no price per input token");
    assert_eq!(skipped(json!({ "mode": "chat", "input_cost_per_token": 1e-6 })), "no price per output token");
    assert!(
        skipped(json!({ "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0 }))
            .contains("every price is 0")
    );
    assert_eq!(skipped(json!(7)), "the entry is not an object");
    assert!(chat("input_cost_per_token", json!(-1e-6)).starts_with("input_cost_per_token: a price cannot be negative"));
    assert!(chat("input_cost_per_token_flex", json!("1e-6")).starts_with("input_cost_per_token_flex: not a number"));
    assert!(chat("output_cost_per_token", json!(1.1)).contains("more than 1 USD each is not believed"));
    assert!(chat("output_cost_per_token", json!(1e300)).contains("out of range"));
    assert!(chat("input_cost_per_request", json!(1001)).contains("more than 1000 USD each"));
    assert!(chat("max_input_tokens", json!(-5)).contains("whole number"));
    assert!(chat("tiered_pricing", json!({})).contains("must be a list"));
    assert!(chat("tiered_pricing", json!([{ "input_cost_per_token": 1e-6 }])).contains("range: [from, to]"));
    let twice = json!([{ "range": [5, 9] }, { "range": [5.0, 9] }]);
    assert!(chat("tiered_pricing", twice).contains("start at the same length"));
    assert!(chat("search_context_cost_per_query", json!(0.01)).contains("must be an object"));
}

#[test]
fn our_own_yaml_and_json_are_read_and_bad_entries_name_the_place() {
    let yaml = "
a: {inputUsdPerMillion: 3, outputUsdPerMillion: 15.5}
'b ': &b
  inputUsdPerMillion: 1
  contextTiers: [{aboveTokens: 200000, inputUsdPerMillion: 2}]
c: *b
bad: {inputUsdPerMillion: 1, contextTiers: [{aboveTokens: 1, outputUsdPerMillon: 2}], serviceTiers: {fast: {}}}
worse: 3
";
    let imported = import(yaml).unwrap();
    assert_eq!(imported.prices.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(imported.prices["b"], imported.prices["c"]);
    let reasons: Vec<_> = imported.report.skipped.iter().map(|skipped| (&*skipped.model, &*skipped.reason)).collect();
    assert_eq!(
        reasons,
        [
            (
                "bad",
                "contextTiers[0].outputUsdPerMillon: unknown field; serviceTiers.fast: unknown service tier: priority, flex or batch"
            ),
            ("worse", "must be an object"),
        ]
    );
    let json = r#"{"a": {"inputUsdPerMillion": 3, "outputUsdPerMillion": 15.5}}"#;
    assert_eq!(import(json).unwrap().prices["a"], imported.prices["a"]);
}

#[test]
fn a_model_that_is_listed_twice_is_reported() {
    for list in [
        r#"{"a": {"inputUsdPerMillion": 1}, "a": {"inputUsdPerMillion": 2}}"#,
        "a: {inputUsdPerMillion: 1}\n' a': {inputUsdPerMillion: 2}",
    ] {
        let imported = import(list).unwrap();
        assert_eq!(serde_json::to_value(&imported.prices["a"]).unwrap(), json!({ "inputUsdPerMillion": 1 }));
        assert!(imported.report.skipped[0].reason.contains("listed twice"));
    }
}

#[test]
fn names_that_cannot_be_used_are_skipped() {
    let list = json!({ " ": { "inputUsdPerMillion": 1 }, "x".repeat(257): { "inputUsdPerMillion": 1 }, "a\u{0}b": { "inputUsdPerMillion": 1 } });
    let report = import(&list.to_string()).unwrap().report;
    assert_eq!((report.imported, report.skipped.len()), (0, 3));
}

#[test]
fn a_list_that_is_no_list_is_refused() {
    let refused = |text: &str| import(text).unwrap_err().to_string();
    assert!(refused("{}").contains("this one has none"));
    assert!(refused("# nothing\n").contains("this one has none"));
    for text in [
        "[]",
        "7",
        "a",
        "{",
        "{\"a\": ",
        "a: {b: c",
        "- a",
        "a: .nan",
        "a: !secret b",
        "a: {1: 2}",
        "? [a]\n: b",
        "\u{0}",
    ] {
        assert!(
            matches!(import(text), Err(ImportError::Malformed(_))),
            "{text:?}: {:?}",
            import(text).map(|imported| imported.report)
        );
    }
}

#[test]
fn a_price_that_is_no_number_is_not_a_price_left_out() {
    for text in [".nan", ".inf", "-.inf"] {
        assert!(import(&format!("a: {{inputUsdPerMillion: 1, outputUsdPerMillion: {text}}}")).is_err(), "{text}");
    }
}

#[test]
fn input_that_is_made_to_hurt_is_refused() {
    assert!(matches!(import(&" ".repeat(MAX_IMPORT_BYTES + 1)), Err(ImportError::TooLarge(_))));
    for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
        let deep = |depth: usize| format!("{{\"m\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        assert!(matches!(import(&deep(100_000)), Err(ImportError::Malformed(_))));
    }
    for nest in ["- ", "? ", "[", "{a: ", "- [", "[? "] {
        let list = format!("m: 1\nn:\n  {}", nest.repeat(20_000));
        assert!(matches!(import(&list), Err(ImportError::Malformed(_))), "{nest}");
    }
    // Each level names the one before nine times.
    let bomb = (1..20).fold("a0: &a0 [x]\n".to_owned(), |bomb, level| {
        let alias = format!("*a{}, ", level - 1).repeat(9);
        bomb + &format!("a{level}: &a{level} [{alias}]\n")
    });
    assert!(matches!(import(&bomb), Err(ImportError::Malformed(_))));
    let name = "x".repeat(100_000);
    let report = import(&format!(r#"{{"m": {{"inputUsdPerMillion": 1, "{name}": 2}}}}"#)).unwrap().report;
    assert!(report.skipped[0].reason.len() < 400, "reasons are short whatever came in");
}

#[test]
fn the_built_in_prices_are_those_of_the_providers() {
    let text = include_str!("../../../conf/prices.yaml");
    let imported = import(text).unwrap();
    assert_eq!(imported.report.skipped, []);
    assert_eq!(
        export_yaml("", &imported.prices).trim_start(),
        text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect::<String>()
    );
    let known = [
        ("claude-sonnet-4-5", "/inputUsdPerMillion", 3.0),
        ("claude-sonnet-4-5", "/outputUsdPerMillion", 15.0),
        ("claude-sonnet-4-5", "/cacheReadUsdPerMillion", 0.3),
        ("claude-sonnet-4-5", "/cacheWrite5mUsdPerMillion", 3.75),
        ("claude-sonnet-4-5", "/cacheWrite1hUsdPerMillion", 6.0),
        ("claude-sonnet-4-5", "/webSearchUsd", 0.01),
        ("claude-sonnet-4-5", "/serviceTiers/batch/inputUsdPerMillion", 1.5),
        ("gpt-4o", "/inputUsdPerMillion", 2.5),
        ("gpt-4o", "/serviceTiers/priority/outputUsdPerMillion", 17.0),
        ("gpt-4.1", "/cacheReadUsdPerMillion", 0.5),
        ("text-embedding-3-small", "/inputUsdPerMillion", 0.02),
        ("gemini-2.5-pro", "/contextTiers/0/aboveTokens", 200_000.0),
        ("gemini-2.5-pro", "/contextTiers/0/inputUsdPerMillion", 2.5),
        ("gemini-2.5-pro", "/contextTiers/0/outputUsdPerMillion", 15.0),
        ("gemini-2.5-pro", "/serviceTiers/priority/contextTiers/0/outputUsdPerMillion", 27.0),
        ("deepseek-chat", "/cacheReadUsdPerMillion", 0.028),
        ("xai/grok-4.5", "/contextTiers/0/outputUsdPerMillion", 12.0),
        ("mistral/mistral-large-latest", "/outputUsdPerMillion", 1.5),
        ("dashscope/qwen3-max", "/contextTiers/1/outputUsdPerMillion", 15.0),
        ("moonshot/kimi-k3", "/outputUsdPerMillion", 15.0),
        ("zai/glm-4.6", "/inputUsdPerMillion", 0.6),
    ];
    for (model, field, usd) in known {
        let price = serde_json::to_value(&imported.prices[model]).unwrap();
        assert_eq!(price.pointer(field).and_then(Value::as_f64), Some(usd), "{model}{field}");
    }
}
