#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::tz::TimeZone;
use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::index::NoCandidate;
use super::*;
use crate::config::Strategy;
use crate::dialect::Dialect;
use crate::directory::ProviderGroups;

fn catalogue(yaml: &str) -> Catalogue {
    let parsed = crate::config::parse(yaml, std::path::Path::new("."), &|_| None).unwrap();
    Catalogue::new(&parsed.providers).ok().unwrap()
}

fn only(groups: &[&str]) -> ProviderGroups {
    ProviderGroups::Only(groups.iter().map(|s| (*s).to_owned()).collect())
}

/// Everybody is well, but those of whom something else is said.
#[derive(Default)]
struct Said {
    kept_out: BTreeMap<&'static str, Exclusion>,
    loads: BTreeMap<&'static str, f64>,
    costs: BTreeMap<&'static str, u128>,
}

impl Standing for Said {
    fn kept_out(&self, provider: &Provider) -> Option<Exclusion> {
        self.kept_out.get(&*provider.name).copied()
    }

    fn load(&self, provider: &Provider) -> f64 {
        self.loads.get(&*provider.name).copied().unwrap_or(1.0)
    }

    fn cost(&self, provider: &Provider) -> u128 {
        self.costs.get(&*provider.name).copied().unwrap_or(1)
    }
}

/// All candidates in the order in which they would be tried, each with the model that it would be sent.
fn order(
    catalogue: &Catalogue,
    model: &str,
    groups: &ProviderGroups,
    strategy: Strategy,
    standing: &Said,
    seed: u64,
) -> Result<Vec<String>, NoCandidate> {
    let mut left = catalogue.eligible(Dialect::OpenaiChat, model, groups)?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut found = Vec::new();
    while let Some(place) = catalogue.choose(&left, strategy, standing, &mut rng, &mut Vec::new()) {
        left.remove(place);
        let candidate = catalogue.candidate(place, &Arc::from(model)).unwrap();
        found.push(format!("{}:{}", candidate.provider.name, candidate.served_model));
    }
    Ok(found)
}

fn weighted(catalogue: &Catalogue, model: &str, groups: &ProviderGroups) -> Result<Vec<String>, NoCandidate> {
    order(catalogue, model, groups, Strategy::Weighted, &Said::default(), 1)
}

const THREE: &str = "
providers:
  - {name: late, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', priority: 5}
  - {name: first, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', models: ['gpt-*'], redirects: {small: gpt-4o-mini}}
  - {name: other, dialects: [anthropic], base_url: 'http://127.0.0.1:1'}
";

const EQUAL: &str = "
providers:
  - {name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1'}
  - {name: b, dialects: [openai_chat], base_url: 'http://127.0.0.1:1'}
  - {name: c, dialects: [openai_chat], base_url: 'http://127.0.0.1:1'}
  - {name: spare, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', priority: 1}
";

#[test]
fn priority_comes_first_and_redirects_are_applied() {
    let all = catalogue(THREE);
    let order = |model| weighted(&all, model, &ProviderGroups::All).unwrap();
    assert_eq!(order("gpt-4o"), ["first:gpt-4o", "late:gpt-4o"]);
    assert_eq!(order("small"), ["first:gpt-4o-mini", "late:small"]);
    assert_eq!(order("llama"), ["late:llama"]);
}

#[test]
fn a_key_confined_to_groups_reaches_only_their_providers() {
    let all = catalogue(
        "providers: [{name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', groups: [blue, red]}]",
    );
    assert_eq!(weighted(&all, "m", &only(&["red"])).unwrap(), ["a:m"]);
    assert_eq!(weighted(&all, "m", &only(&["green"])), Err(NoCandidate::OutOfReach));
    assert_eq!(weighted(&all, "m", &only(&[])), Err(NoCandidate::OutOfReach));
}

#[test]
fn a_dialect_that_nobody_speaks_has_no_candidate() {
    let all = catalogue(THREE);
    assert_eq!(all.eligible(Dialect::Gemini, "m", &ProviderGroups::All), Err(NoCandidate::NoneFits));
    assert_eq!(catalogue("{}").eligible(Dialect::Gemini, "m", &ProviderGroups::All), Err(NoCandidate::NoneFits));
}

#[test]
fn the_first_place_is_shared_by_weight() {
    let all = catalogue(
        "providers:
  - {name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 3}
  - {name: b, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 1}",
    );
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..4_000 {
        let order = order(&all, "m", &ProviderGroups::All, Strategy::Weighted, &Said::default(), seed).unwrap();
        *firsts.entry(order[0].clone()).or_default() += 1;
    }
    // Binomial(4000, 3/4): mean 3000, standard deviation 27.
    assert!((2_850..3_150).contains(&firsts["a:m"]), "{firsts:?}");
}

#[test]
fn who_cannot_take_it_now_is_left_out_with_the_reason() {
    let all = catalogue(EQUAL);
    let open = Exclusion::CircuitOpen { until: Some(7) };
    let mut standing = Said::default();
    standing.kept_out.extend([("a", open), ("b", Exclusion::Busy)]);
    let among = all.eligible(Dialect::OpenaiChat, "m", &ProviderGroups::All).unwrap();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut left_out = Vec::new();
    assert_eq!(all.choose(&among, Strategy::Weighted, &standing, rng, &mut left_out), Some(2));
    assert_eq!(left_out, [(0, open), (1, Exclusion::Busy)], "the spare one was not looked at");
    // The next tier is for when nobody of the first is left.
    standing.kept_out.insert("c", Exclusion::ModelCircuitOpen { until: None });
    assert_eq!(all.choose(&among, Strategy::Weighted, &standing, rng, &mut Vec::new()), Some(3));
    standing.kept_out.insert("spare", Exclusion::Busy);
    left_out.clear();
    assert_eq!(all.choose(&among, Strategy::Weighted, &standing, rng, &mut left_out), None);
    assert_eq!(left_out.len(), 4);
}

#[test]
fn the_cheapest_of_the_best_tier_comes_first() {
    let all = catalogue(EQUAL);
    let standing = Said { costs: [("a", 30), ("b", 10), ("c", 20), ("spare", 1)].into(), ..Said::default() };
    for seed in 0..20 {
        let order = order(&all, "m", &ProviderGroups::All, Strategy::LeastCost, &standing, seed).unwrap();
        assert_eq!(order, ["b:m", "c:m", "a:m", "spare:m"]);
    }
}

/// How often each was the first choice in so many.
fn firsts(all: &Catalogue, standing: &Said, tries: u64) -> BTreeMap<String, u32> {
    let mut firsts = BTreeMap::new();
    for seed in 0..tries {
        let order = order(all, "m", &ProviderGroups::All, Strategy::LeastLoaded, standing, seed).unwrap();
        *firsts.entry(order[0].clone()).or_default() += 1;
    }
    firsts
}

#[test]
fn of_two_the_less_loaded_is_always_first() {
    let all = catalogue(
        "providers:
  - {name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 1000}
  - {name: b, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 1}",
    );
    let standing = Said { loads: [("a", 1.1), ("b", 1.0)].into(), ..Said::default() };
    assert_eq!(firsts(&all, &standing, 200), [("b:m".to_owned(), 200)].into());
}

#[test]
fn the_most_loaded_is_last_and_the_less_loaded_are_not_overrun() {
    let all = catalogue(EQUAL);
    let standing = Said { loads: [("a", 3.0), ("b", 1.0), ("c", 2.0), ("spare", 0.0)].into(), ..Said::default() };
    for seed in 0..200 {
        let order = order(&all, "m", &ProviderGroups::All, Strategy::LeastLoaded, &standing, seed).unwrap();
        assert_eq!(order[2..], ["a:m", "spare:m"]);
    }
    // Of three pairs two have b in them. Binomial(1000, 2/3): standard deviation 15.
    let firsts = firsts(&all, &standing, 1_000);
    assert!((590..740).contains(&firsts["b:m"]) && firsts.len() == 2, "{firsts:?}");
}

#[test]
fn equally_loaded_ones_share_by_weight() {
    let all = catalogue(
        "providers:
  - {name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 3}
  - {name: b, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 1}",
    );
    let firsts = firsts(&all, &Said::default(), 4_000);
    // Binomial(4000, 3/4): mean 3000, standard deviation 27.
    assert!((2_850..3_150).contains(&firsts["a:m"]), "{firsts:?}");
}

#[test]
fn a_provider_at_its_most_requests_is_busy() {
    let all = catalogue(
        "providers: [{name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', max_concurrent_requests: 1}]",
    );
    let provider = all.iter().next().unwrap();
    assert_eq!(provider.kept_out("m", 0, &TimeZone::UTC), None);
    let (guard, _) = provider.load.enter();
    assert_eq!(provider.kept_out("m", 0, &TimeZone::UTC), Some(Exclusion::Busy));
    drop(guard);
    assert_eq!(provider.kept_out("m", 0, &TimeZone::UTC), None);
}

#[test]
fn a_choice_takes_no_memory_as_long_as_nobody_is_left_out() {
    let providers: String = (0..200)
        .map(|n| {
            format!(
                "  - {{name: p{n}, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', models: ['m*', 'x{n}']}}\n"
            )
        })
        .collect();
    let all = catalogue(&format!("providers:\n{providers}"));
    let cost = |provider: &Provider| u128::from(provider.settings.cost_multiplier.ppm());
    let standing = AtPresent { model: "m1", now: 0, zone: &TimeZone::UTC, cost };
    let groups = only(&["other", "default"]);
    let mut rng = StdRng::seed_from_u64(1);
    let chosen = Cell::new(None);
    for strategy in [Strategy::Weighted, Strategy::LeastCost, Strategy::LeastLoaded] {
        let taken = allocation_counter::measure(|| {
            let among = all.eligible(Dialect::OpenaiChat, "m1", &groups).unwrap();
            chosen.set(all.choose(&among, strategy, &standing, &mut rng, &mut Vec::new()));
        });
        assert_eq!((taken.count_total, chosen.take().is_some()), (0, true), "{strategy:?}");
    }
    // The counter counts.
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

/// Names, globs and groups of which many meet.
fn word() -> impl proptest::strategy::Strategy<Value = String> {
    "[ab]{1,3}"
}

fn glob() -> impl proptest::strategy::Strategy<Value = String> {
    prop_oneof![
        word(),
        word().prop_map(|word| format!("{word}*")),
        word().prop_map(|word| format!("*{word}")),
        Just("*".to_owned()),
        Just("?".to_owned()),
        Just("a[ab]".to_owned()),
        Just("{aa,b*}".to_owned()),
        Just("a[!a]*".to_owned()),
        Just("a\\\\*".to_owned()),
    ]
}

type Entry = (Vec<usize>, Option<Vec<String>>, Option<String>, Vec<usize>, bool);

fn entry() -> impl proptest::strategy::Strategy<Value = Entry> {
    let some = || proptest::sample::subsequence(vec![0_usize, 1, 2], 1..3);
    (
        some(),
        proptest::option::of(proptest::collection::vec(glob(), 1..4)),
        proptest::option::of(word()),
        some(),
        proptest::bool::weighted(0.9),
    )
}

const DIALECTS: [(&str, Dialect); 3] =
    [("anthropic", Dialect::Anthropic), ("openai_chat", Dialect::OpenaiChat), ("gemini", Dialect::Gemini)];

proptest! {
    /// What is found through the index is what is found by asking each provider.
    #[test]
    fn the_index_finds_whom_the_providers_own_settings_allow(entries in proptest::collection::vec(entry(), 0..12), model in word(), dialect in 0_usize..3, allowed in proptest::option::of(proptest::sample::subsequence(vec!["g0", "g1", "g2"], 0..3))) {
        let lines = entries.iter().enumerate().map(|(n, (dialects, models, redirect, groups, enabled))| {
            serde_json::json!({
                "name": format!("p{n}"),
                "base_url": "http://127.0.0.1:1",
                "dialects": dialects.iter().map(|d| DIALECTS[*d].0).collect::<Vec<_>>(),
                "models": models,
                "redirects": redirect.iter().map(|from| (from.clone(), "to".to_owned())).collect::<BTreeMap<_, _>>(),
                "groups": groups.iter().map(|g| format!("g{g}")).collect::<Vec<_>>(),
                "priority": n % 3,
                "enabled": enabled,
            })
        });
        let lines: Vec<_> = lines.map(|mut line| {
            if line["models"].is_null() {
                line.as_object_mut().unwrap().remove("models");
            }
            line
        }).collect();
        let all = catalogue(&serde_json::json!({"providers": lines}).to_string());
        let groups = allowed.as_deref().map_or(ProviderGroups::All, only);
        let dialect = DIALECTS[dialect].1;
        let reasons: Vec<_> = all.iter().map(|provider| provider.excluded(dialect, &model, &groups)).collect();
        let places: Vec<_> = (0..reasons.len()).filter(|place| reasons[*place].is_none()).collect();
        let expected = if !places.is_empty() {
            Ok(places)
        } else if reasons.contains(&Some(Exclusion::OutOfReach)) {
            Err(NoCandidate::OutOfReach)
        } else {
            Err(NoCandidate::NoneFits)
        };
        prop_assert_eq!(all.eligible(dialect, &model, &groups).map(|found| found.iter().collect::<Vec<_>>()), expected);
    }
}
