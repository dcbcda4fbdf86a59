//! What it costs a request to be counted: by a node alone, and by one that leases places from an authority.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use tollgate::budget::{BudgetSettings, Clock, Counts, MemoryAuthority};
use tollgate::limit::{self, CountLimits, CountSubject};

const NOW: i64 = 1_760_522_430_000;

const NONE: CountLimits = CountLimits { rpm: None, max_concurrent: None, stamp: 0 };

/// More than a bench can use up.
const WIDE: CountLimits = CountLimits { rpm: Some(u32::MAX), max_concurrent: Some(u32::MAX), stamp: 0 };

/// So few places that each has to be asked for.
const NARROW: CountLimits = CountLimits { rpm: Some(u32::MAX), max_concurrent: Some(2), stamp: 0 };

fn subject(limits: CountLimits) -> CountSubject {
    CountSubject { key_id: 1, key: limits, user_id: 1, user: limits }
}

fn shared() -> Counts {
    let clock: Clock = Arc::new(|| NOW);
    let authority = Arc::new(MemoryAuthority::new(Arc::clone(&clock), 0));
    Counts::shared(1, authority, Arc::new(|| vec![1]), BudgetSettings::default(), clock)
}

/// Admitted, decided and over. Nobody is far away: no answer is waited for.
fn request(counts: &Counts, subject: &CountSubject) {
    let mut guard = counts.admit(black_box(subject), NOW).now_or_never().unwrap().unwrap();
    guard.decide();
}

fn count(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    for (limits, name) in [(WIDE, "both limits of key and user"), (NONE, "no limits")] {
        let subject = subject(limits);
        let mut group = c.benchmark_group(name);
        let own = limit::Counts::new();
        group.bench_function("counted", |b| b.iter(|| drop(own.admit(black_box(&subject), NOW).unwrap())));
        for (name, counts) in [("alone", Counts::alone()), ("leased", shared())] {
            group.bench_function(name, |b| b.iter(|| request(&counts, &subject)));
        }
        group.finish();
    }
    let counts = shared();
    c.bench_function("two places, leased one by one", |b| b.iter(|| request(&counts, &subject(NARROW))));
}

criterion_group!(benches, count);
criterion_main!(benches);
