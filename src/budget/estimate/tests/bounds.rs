//! The most of each kind of request, in tokens: input costs 1 000 nano-dollars at the prices of these tests, output
//! 10 000.

use super::*;

/// The most tokens of the prompt and of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Most {
    input: u64,
    output: u64,
}

/// What is bounded at the prices of these tests, with the body's own bytes and the overhead taken off.
fn most(request: &Inspected, price: &Price) -> Most {
    let nanos = nanos(worst_case(request, &terms(price)));
    // The model's output is a multiple of 100 tokens in all cases below, so that the two can be told apart.
    let once = Usage { input: 1, ..Usage::default() };
    assert_eq!(cost(price, &once, MULTIPLIER_ONE).nanos(), 1_000);
    let output = output(request, &terms(price));
    let input = (nanos - output * 10_000) / 1_000;
    Most { input: input - request.body_bytes() - OVERHEAD, output }
}

#[test]
fn the_body_bounds_the_prompt_of_text() {
    let known = price(&with_maxima(1_000_000, 4_000));
    for (path, members, input, output) in [
        (MESSAGES, r#""max_tokens":500"#, 0, 500),
        (CHAT, r#""max_completion_tokens":500"#, 0, 500),
        (CHAT, r#""max_tokens":500,"n":3"#, 0, 1_500),
        (CHAT, "", 0, 4_000),
        (CHAT, r#""tools":[{"type":"function","function":{"name":"f"}}]"#, TOOLS_OVERHEAD, 4_000),
        (CHAT, r#""response_format":{"type":"json_object"}"#, TOOLS_OVERHEAD, 4_000),
        (CHAT, r#""max_tokens":500,"thinking_budget":300"#, 0, 800),
        (RESPONSES, r#""input":"hi","max_output_tokens":500"#, 0, 500),
        (EMBEDDINGS, r#""input":["a","b"]"#, 0, 0),
        (GEMINI, r#""generationConfig":{"maxOutputTokens":500,"candidateCount":2}"#, 0, 1_000),
        (GEMINI, r#""generationConfig":{"maxOutputTokens":"500"}"#, 0, 500),
        (
            MESSAGES,
            r#""max_tokens":500,"tools":[{"type":"bash_20250124","name":"bash"}]"#,
            TOOLS_OVERHEAD + PROVIDER_TOOL_OVERHEAD,
            500,
        ),
    ] {
        assert_eq!(most(&asking(path, members), &known), Most { input, output }, "{path} {members}");
    }
}

#[test]
fn without_any_bound_the_configured_one_counts() {
    assert_eq!(most(&asking(CHAT, r#""n":2"#), &price(&plain())).output, 200);
    assert_eq!(most(&asking(MESSAGES, ""), &price(&plain())).output, 100);
}

#[test]
fn thinking_that_is_priced_apart_may_come_on_top_of_a_bound_that_does_not_name_it() {
    let mut value = with_maxima(1_000_000, 4_000);
    assert_eq!(most(&asking(CHAT, r#""max_tokens":500,"n":2"#), &price(&value)).output, 1_000);
    value["reasoningUsdPerMillion"] = json!(20);
    let apart = price(&value);
    let most = |members| output(&asking(CHAT, members), &terms(&apart));
    assert_eq!(most(r#""max_tokens":500,"n":2"#), 9_000);
    assert_eq!(most(r#""max_tokens":500,"thinking_budget":300"#), 800);
    assert_eq!(most(""), 4_000);
}

#[test]
fn a_bound_of_the_request_above_the_models_is_believed() {
    // The price book may be behind the model.
    let known = price(&with_maxima(1_000_000, 4_000));
    assert_eq!(most(&asking(CHAT, r#""max_tokens":9000"#), &known).output, 9_000);
}

#[test]
fn what_is_not_in_the_body_takes_the_models_largest_prompt_or_is_refused() {
    let (known, unknown) = (price(&with_maxima(1_000_000, 4_000)), price(&plain()));
    for (path, members) in [
        (MESSAGES, r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"u"}}]}]"#),
        (MESSAGES, r#""container":"c""#),
        (CHAT, r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://u"}}]}]"#),
        (CHAT, r#""messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA"}}]}]"#),
        (CHAT, r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]"#),
        (RESPONSES, r#""previous_response_id":"r""#),
        (RESPONSES, r#""conversation":"c""#),
        (GEMINI, r#""cachedContent":"cachedContents/1""#),
        (GEMINI, r#""contents":[{"parts":[{"fileData":{"fileUri":"u"}}]}]"#),
        (GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"AA"}}]}]"#),
    ] {
        let request = asking(path, members);
        let expected = 1_000_000 * 1_000 + 4_000 * 10_000;
        assert_eq!(nanos(worst_case(&request, &terms(&known))), expected, "{members}");
        let refused = worst_case(&request, &terms(&unknown));
        assert!(matches!(refused, Err(Unbounded::Input(_))), "{members}: {refused:?}");
    }
}

#[test]
fn a_body_longer_than_the_models_largest_prompt_is_not_cut() {
    let known = price(&with_maxima(10, 100));
    let request = asking(RESPONSES, r#""previous_response_id":"r""#);
    assert_eq!(most(&request, &known).input, 0);
}

#[test]
fn images_in_the_body_take_their_largest_number_of_tokens_but_no_more_than_the_model_takes() {
    let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}"#;
    let members = format!(r#""max_tokens":100,"messages":[{{"role":"user","content":[{image},{image}]}}]"#);
    let request = asking(MESSAGES, &members);
    assert_eq!(most(&request, &price(&plain())).input, 2 * image_tokens(Dialect::Anthropic));
    assert_eq!(most(&request, &price(&with_maxima(7_000, 100))).input, 7_000);
}

#[test]
fn each_call_of_a_providers_tool_reads_the_prompt_once_more_and_is_paid_for() {
    let mut value = with_maxima(100_000, 4_000);
    value["webSearchUsd"] = json!(0.01);
    let known = price(&value);
    for (path, members, passes, answers, searches) in [
        (MESSAGES, r#""max_tokens":500,"tools":[{"type":"web_search_20250305","max_uses":3}]"#, 4, 4, 3),
        (MESSAGES, r#""max_tokens":500,"tools":[{"type":"web_fetch_20250910","max_uses":2}]"#, 3, 3, 0),
        (RESPONSES, r#""max_output_tokens":500,"tools":[{"type":"web_search"}],"max_tool_calls":5"#, 6, 1, 5),
        (RESPONSES, r#""max_output_tokens":500,"tools":[{"type":"code_interpreter"}],"max_tool_calls":5"#, 6, 1, 0),
    ] {
        let expected = passes * 100_000 * 1_000 + answers * 500 * 10_000 + searches * 10_000_000;
        assert_eq!(nanos(worst_case(&asking(path, members), &terms(&known))), expected, "{members}");
    }
}

#[test]
fn tools_whose_calls_nothing_bounds_are_refused() {
    let known = price(&with_maxima(100_000, 4_000));
    for (path, members) in [
        (MESSAGES, r#""tools":[{"type":"code_execution_20250825"}]"#),
        (MESSAGES, r#""mcp_servers":[{"url":"u"}]"#),
        (CHAT, r#""web_search_options":{}"#),
        (RESPONSES, r#""tools":[{"type":"file_search"}]"#),
        (RESPONSES, r#""prompt":{"id":"p"}"#),
        (GEMINI, r#""tools":[{"codeExecution":{}}]"#),
    ] {
        let refused = worst_case(&asking(path, members), &terms(&known));
        assert!(matches!(refused, Err(Unbounded::Calls(_))), "{members}: {refused:?}");
    }
}

#[test]
fn the_dearest_rate_that_may_apply_is_taken() {
    let mut value = with_maxima(1_000_000, 1_000);
    value["serviceTiers"] = json!({ "priority": { "inputUsdPerMillion": 2 }, "flex": { "inputUsdPerMillion": 0.5 } });
    value["cacheWrite1hUsdPerMillion"] = json!(8);
    let priced = price(&value);
    let per_token = |path, members: &str| {
        let request = asking(path, members);
        let output = output(&request, &terms(&priced)) * 10_000;
        (nanos(worst_case(&request, &terms(&priced))) - output) / (request.body_bytes() + OVERHEAD)
    };
    assert_eq!(per_token(CHAT, r#""service_tier":"default""#), 1_000);
    assert_eq!(per_token(CHAT, r#""service_tier":"flex""#), 1_000, "the provider may have no room for flex");
    assert_eq!(per_token(CHAT, r#""service_tier":"auto""#), 2_000);
    assert_eq!(per_token(CHAT, ""), 2_000);
    let cached = r#""service_tier":"standard_only","cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    assert_eq!(per_token(MESSAGES, cached), 8_000);
}

#[test]
fn a_long_prompt_is_bounded_at_the_dearest_of_the_tiers_it_may_reach() {
    let mut value = plain();
    // Above the threshold the output is dearer, and above the next one everything is cheaper.
    value["contextTiers"] = json!([
        { "aboveTokens": 1_000, "inputUsdPerMillion": 2, "outputUsdPerMillion": 30 },
        { "aboveTokens": 2_000, "inputUsdPerMillion": 0.1, "outputUsdPerMillion": 1 },
    ]);
    let price = price(&value);
    let request = asking(CHAT, &format!(r#""service_tier":"default","max_tokens":100,"user":"{}""#, "x".repeat(2_000)));
    // 5m writes follow the text price: 2 USD per million within the first tier.
    assert_eq!(nanos(worst_case(&request, &terms(&price))), 2_000 * 2_000 + 100 * 30_000);
}

#[test]
fn a_multiplier_is_taken_and_the_end_is_rounded_up() {
    let price = price(&json!({ "inputUsdPerMillion": 0, "outputUsdPerMillion": 0, "requestUsd": 0.000_000_001 }));
    let aside = |multiplier_ppm| nanos(worst_case(&asking(CHAT, ""), &Terms { multiplier_ppm, ..terms(&price) }));
    assert_eq!((aside(1), aside(1_000_000), aside(1_000_001)), (1, 1, 2));
}

#[test]
fn hostile_bounds_never_make_the_most_smaller() {
    let known = price(&with_maxima(1_000_000, 4_000));
    let usual = worst_case(&asking(CHAT, ""), &terms(&known)).unwrap();
    for members in [
        r#""max_tokens":-1"#,
        r#""max_tokens":0"#,
        r#""max_tokens":[1]"#,
        r#""max_tokens":{"a":1}"#,
        r#""max_tokens":true"#,
        r#""max_tokens":"1""#,
        r#""max_tokens":"many""#,
        r#""max_tokens":-1e400"#,
        r#""max_tokens":99999999999999999999999"#,
        r#""max_tokens":1e400"#,
        r#""max_tokens":5,"max_completion_tokens":"6""#,
        r#""max_tokens":5,"max_completion_tokens":1e19"#,
        r#""n":-5"#,
        r#""n":0"#,
        r#""n":"x""#,
        r#""n":18446744073709551616"#,
        r#""n":1e400"#,
    ] {
        assert!(worst_case(&asking(CHAT, members), &terms(&known)).unwrap() >= usual, "{members}");
    }
    for (members, least) in [(r#""max_tokens":"50000""#, 50_000), (r#""max_tokens":1.5"#, 2), (r#""n":"7""#, 28_000)] {
        assert!(output(&asking(CHAT, members), &terms(&known)) >= least, "{members}");
    }
    for bound in ["-1", "0", "null", "\"x\"", "[]", "1e400", r#""99999999999""#] {
        let members = format!(r#""generationConfig":{{"maxOutputTokens":{bound}}}"#);
        assert!(output(&asking(GEMINI, &members), &terms(&known)) >= 4_000, "{members}");
    }
}

#[test]
fn absurd_numbers_saturate_at_the_largest_amount() {
    let mut value = with_maxima(1_000_000, 4_000);
    value["webSearchUsd"] = json!(1_000);
    let price = price(&value);
    for (path, members) in [
        (CHAT, r#""max_tokens":18446744073709551615,"n":18446744073709551615"#),
        (MESSAGES, r#""tools":[{"type":"web_search_1","max_uses":18446744073709551615}]"#),
        (
            MESSAGES,
            r#""tools":[{"type":"web_search_1","max_uses":1e19},{"type":"web_search_1","max_uses":18446744073709551615}]"#,
        ),
        (RESPONSES, r#""tools":[{"type":"web_search"}],"max_tool_calls":1e300"#),
    ] {
        let terms = Terms { multiplier_ppm: u32::MAX, ..terms(&price) };
        assert_eq!(worst_case(&asking(path, members), &terms), Ok(Usd::MAX), "{members}");
        assert!(expected(&asking(path, members), &terms, &Learnt::new(1), ASKER) > Usd::ZERO, "{members}");
    }
}
