//! How fast a provider is chosen: 200 of them, each of which takes 50 models.
#![allow(clippy::expect_used, missing_docs, reason = "a bench")]

use jiff::tz::TimeZone;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tollgate::config::{self, Strategy};
use tollgate::dialect::Dialect;
use tollgate::directory::ProviderGroups;
use tollgate::provider::{AtPresent, Catalogue, Provider};

const PROVIDERS: usize = 200;
const MODELS: usize = 50;

/// The aim is five microseconds for a choice among all of them.
fn selection(c: &mut Criterion) {
    let named = catalogue(|model| format!("model-{model}"));
    let begun = catalogue(|model| format!("model-{model}*"));
    let groups = ProviderGroups::Only(vec!["default".to_owned()]);
    let mut rng = StdRng::seed_from_u64(1);
    let mut group = c.benchmark_group(format!("choose/{PROVIDERS} providers of {MODELS} models"));
    for (name, catalogue, strategy) in [
        ("weighted", &named, Strategy::Weighted),
        ("weighted, by beginnings", &begun, Strategy::Weighted),
        ("least_cost", &named, Strategy::LeastCost),
        ("least_loaded", &named, Strategy::LeastLoaded),
    ] {
        let cost = |provider: &Provider| u128::from(provider.settings.cost_multiplier.ppm());
        group.bench_function(name, |b| {
            b.iter(|| {
                let model = black_box("model-7");
                let among = catalogue.eligible(Dialect::OpenaiChat, model, &groups).expect("all take it");
                let standing = AtPresent { model, now: 1_767_225_600_000, zone: &TimeZone::UTC, cost };
                catalogue.choose(&among, strategy, &standing, &mut rng, &mut Vec::new())
            });
        });
    }
    group.finish();
}

fn catalogue(glob: impl Fn(usize) -> String) -> Catalogue {
    let models: Vec<String> = (0..MODELS).map(|model| format!("'{}'", glob(model))).collect();
    let mut text = "providers:\n".to_owned();
    for number in 0..PROVIDERS {
        writeln!(
            text,
            "- {{name: p{number}, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: {}, \
             cost_multiplier: 1.{number:03}, models: [{}]}}",
            number + 1,
            models.join(", ")
        )
        .expect("a String takes everything");
    }
    let parsed = config::parse(&text, Path::new("."), &|_| None).expect("a configuration");
    Catalogue::new(&parsed.providers).expect("a catalogue")
}

criterion_group!(benches, selection);
criterion_main!(benches);
