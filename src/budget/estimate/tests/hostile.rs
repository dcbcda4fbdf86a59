//! Bodies that are made to look cheaper than they are.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// Says the same in other words: every ASCII letter of the names and texts as an escape.
fn escaped(json: &str) -> String {
    let (mut out, mut in_text) = (String::new(), false);
    for c in json.chars() {
        in_text ^= c == '"';
        if in_text && c.is_ascii_alphanumeric() {
            write!(out, "\\u{:04x}", u32::from(c)).unwrap();
        } else {
            out.push(c);
        }
    }
    out
}

/// Members of which each makes a request dearer, or unbounded.
const DEARER: [(&str, &str); 14] = [
    (MESSAGES, r#""max_tokens":90000"#),
    (MESSAGES, r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#),
    (MESSAGES, r#""tools":[{"type":"web_search_20250305","max_uses":3}]"#),
    (MESSAGES, r#""messages":[{"content":[{"type":"image","source":{"type":"url","url":"u"}}]}]"#),
    (CHAT, r#""n":4"#),
    (CHAT, r#""best_of":4"#),
    (CHAT, r#""max_tokens":90000"#),
    (CHAT, r#""web_search_options":{}"#),
    (CHAT, r#""prediction":{"type":"content","content":"x"}"#),
    (RESPONSES, r#""previous_response_id":"r""#),
    (RESPONSES, r#""tools":[{"type":"web_search"}],"max_tool_calls":2"#),
    (GEMINI, r#""cachedContent":"c""#),
    (GEMINI, r#""generationConfig":{"candidateCount":3}"#),
    (GEMINI, r#""contents":[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"A"}}]}]"#),
];

/// As an amount; what is refused is more than any.
fn most(request: &Inspected, price: &Price) -> Usd {
    worst_case(request, &terms(price)).unwrap_or(Usd::MAX)
}

fn priced() -> Price {
    let mut value = with_maxima(1_000_000, 4_000);
    value["cacheWrite1hUsdPerMillion"] = json!(9);
    price(&value)
}

#[test]
fn names_spelled_in_escapes_are_as_dear() {
    let price = priced();
    for (path, members) in DEARER {
        let plain = most(&asking(path, members), &price);
        assert!(plain > most(&asking(path, ""), &price) + Usd::from_nanos(100_000), "{members} makes nothing dearer");
        // The escapes take bytes, which can only add.
        assert!(most(&asking(path, &escaped(members)), &price) >= plain, "{members}");
    }
}

#[test]
fn a_member_that_is_there_twice_is_refused_or_counts_for_the_dearer() {
    let price = priced();
    let harmless = [
        (MESSAGES, r#""tools":[],"messages":[],"cache_control":null"#),
        (CHAT, r#""n":1,"best_of":1,"web_search_options":null,"prediction":null"#),
        (RESPONSES, r#""previous_response_id":null,"tools":[],"max_tool_calls":0"#),
        (GEMINI, r#""cachedContent":null,"generationConfig":{"candidateCount":1},"contents":[]"#),
    ];
    for (path, members) in DEARER {
        let (_, harmless) = harmless.iter().find(|(of, _)| *of == path).unwrap();
        let plain = most(&asking(path, members), &price);
        for both in [format!("{members},{harmless}"), format!("{harmless},{members}")] {
            let route = route("POST", path, None, ClientHints::default()).unwrap();
            let model = if path == GEMINI { r#""x":0"# } else { r#""model":"m""# };
            if let Ok(request) = inspect(&route, format!("{{{model},{both}}}").as_bytes()) {
                assert!(most(&request, &price) >= plain, "{both}");
            }
        }
    }
}

#[test]
fn what_is_hidden_below_absurd_nesting_is_not_taken_for_text() {
    let price = priced();
    let url = r#"{"type":"image","source":{"type":"url","url":"u"}}"#;
    for depth in [1, 10, 23, 24, 25, 40] {
        let block = r#"{"type":"tool_result","content":["#.repeat(depth) + url + &"]}".repeat(depth);
        let members = format!(r#""max_tokens":100,"messages":[{{"role":"user","content":[{block}]}}]"#);
        assert!(most(&asking(MESSAGES, &members), &price).nanos() >= 1_000_000 * 1_000, "at depth {depth}");
    }
}

proptest! {
    #[test]
    fn no_value_of_a_bound_panics_or_makes_a_request_cheaper_than_its_text(
        number in prop_oneof![any::<i64>().prop_map(|n| n.to_string()), any::<f64>().prop_map(|n| format!("{n:e}")), "[0-9]{1,40}", "\"[^\"\\\\\u{0}-\u{1f}]{0,8}\""],
        member in prop_oneof![Just("max_tokens"), Just("max_completion_tokens"), Just("n"), Just("best_of"), Just("thinking_budget")],
    ) {
        prop_assume!(serde_json::from_str::<&serde_json::value::RawValue>(&number).is_ok());
        let price = priced();
        let request = asking(CHAT, &format!(r#""{member}":{number}"#));
        let aside = most(&request, &price);
        prop_assert!(aside.nanos() >= i64::try_from(request.body_bytes() * 1_000).unwrap());
        prop_assert!(none(&request, &terms(&price)) <= expected(&request, &terms(&price), &Learnt::new(1), ASKER));
    }
}
