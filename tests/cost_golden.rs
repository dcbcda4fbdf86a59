//! Costs to the nano-dollar, against prices as their providers publish them.
//!
//! What is expected is worked out here, from the decimals of the published prices and with arithmetic on their digits;
//! nothing of the code under test takes part. Some are given as the plain result, worked out by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use tollgate::dialect::{ServiceTier, Usage};
use tollgate::pricing::{Price, PriceBook, Prices, cost};

mod digits {
    //! Natural numbers as their decimal digits, the last one first, multiplied and added as on paper.

    pub fn of(number: u64) -> Vec<u8> {
        number.to_string().bytes().rev().map(|digit| digit - b'0').collect()
    }

    /// A decimal such as `3.75` in units of `10^-scale`.
    pub fn of_decimal(text: &str, scale: usize) -> Vec<u8> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        assert!(fraction.len() <= scale, "{text} has more than {scale} decimals");
        let zeros = "0".repeat(scale - fraction.len());
        (whole.to_owned() + fraction + &zeros).bytes().rev().map(|digit| digit - b'0').collect()
    }

    pub fn add(one: &[u8], two: &[u8]) -> Vec<u8> {
        let mut sum = vec![0; one.len().max(two.len()) + 1];
        for place in 0..sum.len() - 1 {
            let column = sum[place] + one.get(place).unwrap_or(&0) + two.get(place).unwrap_or(&0);
            (sum[place], sum[place + 1]) = (column % 10, column / 10);
        }
        sum
    }

    pub fn multiply(one: &[u8], two: &[u8]) -> Vec<u8> {
        let mut product = vec![0; one.len() + two.len() + 1];
        for (place, digit) in one.iter().enumerate() {
            let mut carry = 0;
            for (other, times) in two.iter().chain([&0]).enumerate() {
                let column = product[place + other] + digit * times + carry;
                (product[place + other], carry) = (column % 10, column / 10);
            }
        }
        product
    }

    /// Without its last digits, rounded up if any of them was not zero.
    pub fn cut_up(number: &[u8], digits: usize) -> Vec<u8> {
        let (cut, kept) = number.split_at(digits.min(number.len()));
        if cut.iter().all(|digit| *digit == 0) { kept.to_vec() } else { add(kept, &[1]) }
    }

    pub fn text(number: &[u8]) -> String {
        let text: String = number.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
        let text = text.trim_start_matches('0');
        if text.is_empty() { "0".to_owned() } else { text.to_owned() }
    }
}

/// What is to be paid: so much of it, at so many USD per million tokens, or per call.
enum Pay {
    Tokens(u64, &'static str),
    Calls(u64, &'static str),
}
use Pay::{Calls, Tokens};

/// Nano-dollars by the published formula: everything added up, times the multiplier, rounded up once.
fn by_formula(terms: &[Pay], multiplier: &str) -> String {
    // In 1e-15 USD: a price per million tokens has 9 decimals of them per token, a price per call 15.
    let femto = terms.iter().fold(vec![0], |sum, term| {
        let (units, price) = match term {
            Tokens(units, price) => (units, digits::of_decimal(price, 9)),
            Calls(units, price) => (units, digits::of_decimal(price, 15)),
        };
        digits::add(&sum, &digits::multiply(&digits::of(*units), &price))
    });
    let parts = digits::multiply(&femto, &digits::of_decimal(multiplier, 6));
    digits::text(&digits::cut_up(&parts, 12))
}

fn ppm(multiplier: &str) -> u32 {
    digits::text(&digits::of_decimal(multiplier, 6)).parse().unwrap()
}

/// One request: what it used, at which price, and what has to be paid for it.
struct Case {
    name: &'static str,
    price: Price,
    usage: Usage,
    multiplier: &'static str,
    terms: Vec<Pay>,
    /// The cost in nano-dollars, where it was also worked out by hand.
    nanos: Option<i64>,
}

fn book() -> PriceBook {
    PriceBook::new(&Prices::new(), &Prices::new())
}

fn usage(usage: &str) -> Usage {
    serde_yaml::from_str(usage).unwrap()
}

fn check(cases: Vec<Case>) {
    for Case { name, price, usage, multiplier, terms, nanos } in cases {
        let seen = cost(&price, &usage, ppm(multiplier)).nanos();
        assert_eq!(seen.to_string(), by_formula(&terms, multiplier), "{name}: by the formula");
        if let Some(nanos) = nanos {
            assert_eq!(seen, nanos, "{name}: by hand");
        }
    }
}

/// A case of a price that ships with Tollgate.
fn model(name: &'static str, model: &str, used: &str, terms: Vec<Pay>) -> Case {
    let price = (**book().get(model).unwrap_or_else(|| panic!("{model} has no price"))).clone();
    Case { name, price, usage: usage(used), multiplier: "1", terms, nanos: None }
}

/// A case of a price that is written out.
fn priced(name: &'static str, price: &str, used: &str, terms: Vec<Pay>) -> Case {
    Case { name, price: serde_yaml::from_str(price).unwrap(), usage: usage(used), multiplier: "1", terms, nanos: None }
}

impl Case {
    fn by_hand(mut self, nanos: i64) -> Self {
        self.nanos = Some(nanos);
        self
    }

    fn times(mut self, multiplier: &'static str) -> Self {
        self.multiplier = multiplier;
        self
    }
}

#[test]
fn the_arithmetic_of_this_test_is_right() {
    let check = |number: &[u8]| digits::text(number);
    assert_eq!(
        check(&digits::multiply(&digits::of(u64::MAX), &digits::of(u64::MAX))),
        "340282366920938463426481119284349108225"
    );
    assert_eq!(check(&digits::add(&digits::of(999), &digits::of(1))), "1000");
    assert_eq!(check(&digits::of_decimal("3.75", 3)), "3750");
    assert_eq!(check(&digits::cut_up(&digits::of(12_000), 3)), "12");
    assert_eq!(check(&digits::cut_up(&digits::of(12_001), 3)), "13");
    assert_eq!(check(&digits::cut_up(&digits::of(1), 12)), "1");
    assert_eq!(by_formula(&[Tokens(1, "0.000001")], "1"), "1");
}

#[test]
fn anthropic_messages() {
    check(vec![
        // 1 200 x 3 000 + 350 x 15 000 nano-dollars.
        model("a chat", "claude-sonnet-4-5", "{input: 1200, output: 350}", vec![Tokens(1200, "3"), Tokens(350, "15")])
            .by_hand(8_850_000),
        model(
            "a prompt written to the cache for 5 minutes",
            "claude-sonnet-4-5",
            "{input: 10, output: 100, cacheWrite5m: 2048}",
            vec![Tokens(10, "3"), Tokens(100, "15"), Tokens(2048, "3.75")],
        )
        .by_hand(9_210_000),
        model(
            "both kinds of cache writes and a read",
            "claude-sonnet-4-5",
            "{input: 7, output: 211, cacheRead: 90001, cacheWrite5m: 1023, cacheWrite1h: 4097}",
            vec![Tokens(7, "3"), Tokens(211, "15"), Tokens(90_001, "0.3"), Tokens(1023, "3.75"), Tokens(4097, "6")],
        ),
        model(
            "web searches",
            "claude-sonnet-4-5",
            "{input: 5000, output: 800, webSearches: 3}",
            vec![Tokens(5000, "3"), Tokens(800, "15"), Calls(3, "0.01")],
        )
        .by_hand(57_000_000),
        model(
            "at the threshold of a long context",
            "claude-haiku-5-5",
            "{input: 60000, cacheRead: 40000, output: 10}",
            vec![Tokens(60_000, "0.1"), Tokens(40_000, "0.01"), Tokens(10, "0.5")],
        )
        .by_hand(6_405_000),
        model(
            "one token above it the whole request is dearer",
            "claude-haiku-5-5",
            "{input: 60000, cacheRead: 40000, cacheWrite1h: 1, output: 10}",
            vec![Tokens(60_000, "0.5"), Tokens(40_000, "0.05"), Tokens(1, "1"), Tokens(10, "2.5")],
        )
        .by_hand(32_026_000),
        model(
            "a batch with a long context",
            "claude-haiku-5-5",
            "{input: 99999, cacheWrite5m: 3, cacheWrite1h: 7, output: 33, serviceTier: batch}",
            vec![Tokens(99_999, "0.25"), Tokens(3, "0.3125"), Tokens(7, "1"), Tokens(33, "1.25")],
        ),
        model(
            "a batch takes the hour's price from the base",
            "claude-sonnet-4-5",
            "{input: 11, cacheRead: 13, cacheWrite5m: 17, cacheWrite1h: 19, output: 23, serviceTier: batch}",
            vec![Tokens(11, "1.5"), Tokens(13, "0.15"), Tokens(17, "1.875"), Tokens(19, "6"), Tokens(23, "7.5")],
        ),
        model(
            "a tier without prices is the base",
            "claude-sonnet-4-5",
            "{input: 9, serviceTier: priority}",
            vec![Tokens(9, "3")],
        )
        .by_hand(27_000),
    ]);
}

#[test]
fn openai_chat_completions() {
    check(vec![
        // 800 x 2 500 + 200 x 1 250 + 64 x 10 000 nano-dollars.
        model(
            "cached tokens are not in the input",
            "gpt-4o",
            "{input: 800, cacheRead: 200, output: 64}",
            vec![Tokens(800, "2.5"), Tokens(200, "1.25"), Tokens(64, "10")],
        )
        .by_hand(2_890_000),
        model(
            "priority",
            "gpt-4o",
            "{input: 800, cacheRead: 200, output: 64, serviceTier: priority}",
            vec![Tokens(800, "4.25"), Tokens(200, "2.125"), Tokens(64, "17")],
        )
        .by_hand(4_913_000),
        model(
            "a batch takes the cache price from the base",
            "gpt-4o",
            "{input: 801, cacheRead: 203, output: 67, serviceTier: batch}",
            vec![Tokens(801, "1.25"), Tokens(203, "1.25"), Tokens(67, "5")],
        ),
        model(
            "reasoning costs what output costs",
            "gpt-5.4",
            "{input: 1000, output: 100, reasoning: 4321}",
            vec![Tokens(1000, "2.5"), Tokens(100, "15"), Tokens(4321, "15")],
        )
        .by_hand(68_815_000),
        model(
            "audio in and out",
            "gpt-4o-audio-preview-2024-12-17",
            "{input: 31, inputAudio: 1999, output: 17, outputAudio: 503}",
            vec![Tokens(31, "2.5"), Tokens(1999, "40"), Tokens(17, "10"), Tokens(503, "80")],
        ),
        model(
            "images of the prompt cost what text costs",
            "gpt-4o",
            "{input: 100, inputImage: 765, output: 1}",
            vec![Tokens(100, "2.5"), Tokens(765, "2.5"), Tokens(1, "10")],
        ),
        model(
            "a search of a chat model",
            "gpt-4.1",
            "{input: 3, output: 5, webSearches: 2}",
            vec![Tokens(3, "2"), Tokens(5, "8"), Calls(2, "0.025")],
        )
        .by_hand(50_046_000),
    ]);
}

#[test]
fn openai_responses() {
    check(vec![
        model("long context", "gpt-5.4", "{input: 272001, output: 5}", vec![Tokens(272_001, "5"), Tokens(5, "22.5")])
            .by_hand(1_360_117_500),
        model(
            "long context in the flex tier",
            "gpt-5.4",
            "{input: 200000, cacheRead: 100000, output: 999, serviceTier: flex}",
            vec![Tokens(200_000, "2.5"), Tokens(100_000, "0.25"), Tokens(999, "11.25")],
        ),
        model(
            "short context in the flex tier",
            "gpt-5.4",
            "{input: 1001, cacheRead: 333, output: 999, serviceTier: flex}",
            vec![Tokens(1001, "1.25"), Tokens(333, "0.13"), Tokens(999, "7.5")],
        ),
        model(
            "priority with a long context that only the base prices: the dearer of both",
            "gpt-5.4",
            "{input: 272001, cacheRead: 9, output: 5, reasoning: 6, serviceTier: priority}",
            vec![Tokens(272_001, "5"), Tokens(9, "0.5"), Tokens(5, "30"), Tokens(6, "30")],
        ),
        model(
            "priority with a long context of its own",
            "gpt-5.6",
            "{input: 272000, cacheWrite5m: 1, cacheRead: 77, output: 3, serviceTier: priority}",
            vec![Tokens(272_000, "16"), Tokens(1, "20"), Tokens(77, "1.6"), Tokens(3, "60")],
        ),
        model(
            "cache writes that are priced",
            "gpt-5.6",
            "{input: 12, cacheWrite5m: 1025, cacheRead: 513, output: 129}",
            vec![Tokens(12, "4"), Tokens(1025, "5"), Tokens(513, "0.4"), Tokens(129, "20")],
        )
        .by_hand(7_958_200),
    ]);
}

#[test]
fn openai_embeddings() {
    check(vec![
        model("one sentence", "text-embedding-3-small", "{input: 8}", vec![Tokens(8, "0.02")]).by_hand(160),
        model("many of them", "text-embedding-3-large", "{input: 1234567}", vec![Tokens(1_234_567, "0.13")])
            .by_hand(160_493_710),
        model("a batch", "text-embedding-3-small", "{input: 7, serviceTier: batch}", vec![Tokens(7, "0.01")])
            .by_hand(70),
        model("of another maker", "mistral-embed", "{input: 1001}", vec![Tokens(1001, "0.1")]),
        model("half a nano-dollar counts as one", "text-embedding-3-small", "{input: 1}", vec![Tokens(1, "0.02")])
            .times("0.125")
            .by_hand(3),
    ]);
}

#[test]
fn gemini_generate_content() {
    check(vec![
        model(
            "thoughts cost what output costs",
            "gemini-2.5-pro",
            "{input: 1500, output: 300, reasoning: 2700}",
            vec![Tokens(1500, "1.25"), Tokens(300, "10"), Tokens(2700, "10")],
        )
        .by_hand(31_875_000),
        model(
            "a long context that the cache alone reaches",
            "gemini-2.5-pro",
            "{input: 1, cacheRead: 200000, output: 7}",
            vec![Tokens(1, "2.5"), Tokens(200_000, "0.25"), Tokens(7, "15")],
        )
        .by_hand(50_107_500),
        model(
            "priority, long",
            "gemini-2.5-pro",
            "{input: 150000, inputImage: 50001, cacheRead: 3, output: 7, serviceTier: priority}",
            vec![Tokens(150_000, "4.5"), Tokens(50_001, "4.5"), Tokens(3, "0.45"), Tokens(7, "27")],
        ),
        model(
            "flex, long: its cache price rises with its input price",
            "gemini-2.5-pro",
            "{input: 200001, cacheRead: 1001, output: 7, serviceTier: flex}",
            vec![Tokens(200_001, "1.25"), Tokens(1001, "0.25"), Tokens(7, "7.5")],
        ),
        model(
            "a batch without a long price pays the base's",
            "gemini-2.5-pro",
            "{input: 200001, output: 7, serviceTier: batch}",
            vec![Tokens(200_001, "2.5"), Tokens(7, "15")],
        ),
        model(
            "audio of the prompt",
            "gemini-2.5-flash",
            "{input: 20, inputAudio: 3200, output: 50}",
            vec![Tokens(20, "0.3"), Tokens(3200, "1"), Tokens(50, "2.5")],
        ),
        model(
            "a grounded answer",
            "gemini-2.5-pro",
            "{input: 20, output: 50, webSearches: 1}",
            vec![Tokens(20, "1.25"), Tokens(50, "10"), Calls(1, "0.035")],
        )
        .by_hand(35_525_000),
    ]);
}

#[test]
fn models_that_speak_openais_dialect() {
    check(vec![
        model(
            "deepseek: a cache hit costs a tenth",
            "deepseek-chat",
            "{input: 101, cacheRead: 4096, output: 77}",
            vec![Tokens(101, "0.28"), Tokens(4096, "0.028"), Tokens(77, "0.42")],
        )
        .by_hand(175_308),
        model(
            "deepseek: the peak price",
            "deepseek-v4-pro",
            "{input: 3, output: 7}",
            vec![Tokens(3, "1.32"), Tokens(7, "3.96")],
        ),
        model(
            "grok by its bare name, long: images rise with text",
            "grok-4.5",
            "{input: 200000, inputImage: 1, cacheRead: 9, output: 3}",
            vec![Tokens(200_000, "4"), Tokens(1, "4"), Tokens(9, "0.6"), Tokens(3, "12")],
        ),
        model(
            "grok, a long batch",
            "xai/grok-4.20",
            "{input: 200001, cacheRead: 3, output: 9, serviceTier: batch}",
            vec![Tokens(200_001, "2"), Tokens(3, "0.32"), Tokens(9, "4")],
        ),
        model(
            "qwen: the second of four ranges",
            "qwen3-coder-plus",
            "{input: 32001, cacheRead: 5, output: 11}",
            vec![Tokens(32_001, "1.8"), Tokens(5, "0.18"), Tokens(11, "9")],
        ),
        model(
            "qwen: beyond the last range",
            "qwen3-coder-plus",
            "{input: 5000000, cacheRead: 5, output: 11}",
            vec![Tokens(5_000_000, "6"), Tokens(5, "0.6"), Tokens(11, "60")],
        ),
        model(
            "qwen: thinking has its own price in each range",
            "qwen-plus-latest",
            "{input: 256001, output: 10, reasoning: 1000}",
            vec![Tokens(256_001, "1.2"), Tokens(10, "3.6"), Tokens(1000, "12")],
        ),
        model(
            "qwen: and below it",
            "qwen-plus-latest",
            "{input: 256000, output: 10, reasoning: 1000}",
            vec![Tokens(256_000, "0.4"), Tokens(10, "1.2"), Tokens(1000, "4")],
        ),
        model(
            "kimi",
            "kimi-k3",
            "{input: 13, cacheRead: 7, output: 5}",
            vec![Tokens(13, "3"), Tokens(7, "0.3"), Tokens(5, "15")],
        ),
        model(
            "glm",
            "glm-4.6",
            "{input: 13, cacheRead: 7, output: 5}",
            vec![Tokens(13, "0.6"), Tokens(7, "0.11"), Tokens(5, "2.2")],
        ),
        model(
            "mistral",
            "mistral-large-latest",
            "{input: 13, cacheRead: 7, output: 5}",
            vec![Tokens(13, "0.5"), Tokens(7, "0.05"), Tokens(5, "1.5")],
        ),
    ]);
}

#[test]
fn every_shape_of_a_price() {
    const WHOLE: &str = "{inputUsdPerMillion: 1, outputUsdPerMillion: 2, cacheReadUsdPerMillion: 3, cacheWrite5mUsdPerMillion: 4,
        cacheWrite1hUsdPerMillion: 5, inputAudioUsdPerMillion: 6, outputAudioUsdPerMillion: 7, inputImageUsdPerMillion: 8,
        outputImageUsdPerMillion: 9, reasoningUsdPerMillion: 10, requestUsd: 0.000000011, webSearchUsd: 0.000000012}";
    const INPUT_ONLY: &str = "{inputUsdPerMillion: 0.37}";
    check(vec![
        priced(
            "each kind at its own price",
            WHOLE,
            "{input: 1000003, output: 1000033, cacheRead: 1000037, cacheWrite5m: 1000039, cacheWrite1h: 1000081, inputAudio: 1000099,
              outputAudio: 1000117, inputImage: 1000121, outputImage: 1000133, reasoning: 1000151, webSearches: 1000159}",
            vec![
                Tokens(1_000_003, "1"), Tokens(1_000_033, "2"), Tokens(1_000_037, "3"), Tokens(1_000_039, "4"),
                Tokens(1_000_081, "5"), Tokens(1_000_099, "6"), Tokens(1_000_117, "7"), Tokens(1_000_121, "8"),
                Tokens(1_000_133, "9"), Tokens(1_000_151, "10"), Calls(1, "0.000000011"), Calls(1_000_159, "0.000000012"),
            ],
        ),
        priced("a request that used nothing", WHOLE, "{}", vec![Calls(1, "0.000000011")]).by_hand(11),
        priced(
            "cache prices by the public rule",
            INPUT_ONLY,
            "{input: 3, cacheRead: 5, cacheWrite5m: 7, cacheWrite1h: 11}",
            vec![Tokens(3, "0.37"), Tokens(5, "0.037"), Tokens(7, "0.4625"), Tokens(11, "0.74")],
        ),
        priced("output without a price", INPUT_ONLY, "{output: 1000, reasoning: 5}", vec![]).by_hand(0),
        priced(
            "paid by the request",
            "{requestUsd: 0.005}",
            "{input: 5000, output: 5000}",
            vec![Calls(1, "0.005")],
        )
        .times("1.5")
        .by_hand(7_500_000),
        priced(
            "a service tier with one price of its own",
            "{inputUsdPerMillion: 1, outputUsdPerMillion: 8, requestUsd: 0.01, serviceTiers: {flex: {outputUsdPerMillion: 4, requestUsd: 0}}}",
            "{input: 10, cacheRead: 10, output: 10, serviceTier: flex}",
            vec![Tokens(10, "1"), Tokens(10, "0.1"), Tokens(10, "4")],
        )
        .by_hand(51_000),
        priced(
            "context tiers of calls",
            "{inputUsdPerMillion: 0, requestUsd: 0.01, contextTiers: [{aboveTokens: 9, requestUsd: 0.02, webSearchUsd: 0.5}]}",
            "{input: 10, webSearches: 2}",
            vec![Calls(1, "0.02"), Calls(2, "0.5")],
        )
        .by_hand(1_020_000_000),
        priced(
            "cache reads left out of a context tier rise with its input",
            "{inputUsdPerMillion: 3, cacheReadUsdPerMillion: 0.25, contextTiers: [{aboveTokens: 9, inputUsdPerMillion: 4.5}]}",
            "{input: 9, cacheRead: 4}",
            vec![Tokens(9, "4.5"), Tokens(4, "0.375")],
        )
        .by_hand(42_000),
        priced("a discount", INPUT_ONLY, "{input: 999}", vec![Tokens(999, "0.37")]).times("0.333333"),
        priced("a surcharge", INPUT_ONLY, "{input: 999}", vec![Tokens(999, "0.37")]).times("1.100001"),
        priced("for nothing", INPUT_ONLY, "{input: 999}", vec![Tokens(999, "0.37")]).times("0").by_hand(0),
        priced("the smallest price there is", "{inputUsdPerMillion: 0.000001}", "{cacheRead: 1}", vec![Tokens(1, "0.0000001")]).by_hand(1),
        priced(
            "all the money that there is room for",
            "{inputUsdPerMillion: 0.5}",
            "{input: 18446744073709551614}",
            vec![Tokens(18_446_744_073_709_551_614, "0.5")],
        )
        .times("0.001")
        .by_hand(9_223_372_036_854_775_807),
    ]);
}

/// Every model that ships, at its flat prices, with odd numbers of everything: the prices read here are the decimals that stand
/// in the file.
#[test]
fn every_built_in_price_is_charged_as_it_is_written() {
    const RULES: [(&str, &str, &str, u64); 10] = [
        ("inputUsdPerMillion", "", "", 101),
        ("outputUsdPerMillion", "", "", 103),
        ("cacheReadUsdPerMillion", "inputUsdPerMillion", "0.1", 107),
        ("cacheWrite5mUsdPerMillion", "inputUsdPerMillion", "1.25", 109),
        ("cacheWrite1hUsdPerMillion", "inputUsdPerMillion", "2", 113),
        ("inputAudioUsdPerMillion", "inputUsdPerMillion", "1", 127),
        ("outputAudioUsdPerMillion", "outputUsdPerMillion", "1", 131),
        ("inputImageUsdPerMillion", "inputUsdPerMillion", "1", 137),
        ("outputImageUsdPerMillion", "outputUsdPerMillion", "1", 139),
        ("reasoningUsdPerMillion", "outputUsdPerMillion", "1", 149),
    ];
    let used = Usage {
        input: 101,
        output: 103,
        cache_read: 107,
        cache_write_5m: 109,
        cache_write_1h: 113,
        input_audio: 127,
        output_audio: 131,
        input_image: 137,
        output_image: 139,
        reasoning: 149,
        web_searches: 1,
        service_tier: ServiceTier::Standard,
    };
    let (book, mut models) = (book(), 0);
    for line in include_str!("../conf/prices.yaml").lines().filter(|line| !line.starts_with('#')) {
        let (model, price) = line[1..].split_once("\": ").unwrap();
        let written: Value = serde_json::from_str(price).unwrap();
        let decimal = |field: &str| written.get(field).map_or("0".to_owned(), Value::to_string);
        let mut femto = digits::of_decimal(&decimal("webSearchUsd"), 15);
        for (field, rule, share, tokens) in RULES {
            // In 1e-15 USD per token: 7 decimals of the price, 2 of the share.
            let (price, share) = if written.get(field).is_some() || rule.is_empty() {
                (decimal(field), "1")
            } else {
                (decimal(rule), share)
            };
            let rate = digits::multiply(&digits::of_decimal(&price, 7), &digits::of_decimal(share, 2));
            femto = digits::add(&femto, &digits::multiply(&rate, &digits::of(tokens)));
        }
        assert!(written.get("requestUsd").is_none(), "no model that ships is paid by the request");
        let seen = cost(book.get(model).unwrap(), &used, 1_000_000).nanos();
        assert_eq!(seen.to_string(), digits::text(&digits::cut_up(&femto, 6)), "{model}");
        models += 1;
    }
    assert!(models > 400, "{models} models");
}
