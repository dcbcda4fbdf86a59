//! How long a page of a long list takes to be answered, in each order and with each filter: the first page and one in the
//! depth, on SQLite and on PostgreSQL.
//!
//! `cargo bench --bench lists [-- --quick]`. With `--quick` the lists have 10 000 rows, else 100 000; every page should be
//! there within 20 ms.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench")]

#[path = "lists/api.rs"]
mod api;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use serde_json::json;

use api::Api;
use support::crowd;

const MOST: Duration = Duration::from_millis(20);
const ROUNDS: usize = 15;

/// Each list with its filters, and the name of the list and of the order in a cursor.
const LISTS: &[(&str, &str, &str)] = &[
    ("/users?sort=id", "user", "id"),
    ("/users?sort=-id", "user", "-id"),
    ("/users?sort=name", "user", "name"),
    ("/users?sort=-name", "user", "-name"),
    ("/users?sort=createdAt", "user", "createdAt"),
    ("/users?sort=-createdAt", "user", "-createdAt"),
    ("/users?q=user&sort=name", "user", "name"),
    ("/users?q=user&sort=-name", "user", "-name"),
    ("/users?name=user%201007919&sort=name", "user", ""),
    ("/users?userGroupId=3&sort=id", "user", "id"),
    ("/users?userGroupId=3&sort=name", "user", "name"),
    ("/users?userGroupId=1001&sort=-id", "user", "-id"),
    ("/users?userGroupId=1001&sort=name", "user", "name"),
    ("/users?userGroupId=1001&sort=-createdAt", "user", "-createdAt"),
    ("/users?userGroupId=1001&q=user&sort=-name", "user", "-name"),
    ("/keys?sort=id", "key", "id"),
    ("/keys?sort=name", "key", "name"),
    ("/keys?sort=-name", "key", "-name"),
    ("/keys?sort=createdAt", "key", "createdAt"),
    ("/keys?sort=-createdAt", "key", "-createdAt"),
    ("/keys?q=key&sort=-name", "key", "-name"),
    ("/keys?name=key%20500&sort=name", "key", ""),
    ("/keys?userId=1&sort=name", "key", "name"),
    ("/users/1/keys?sort=id", "key", "id"),
    ("/users/1/keys?sort=-id", "key", "-id"),
    ("/users/1/keys?sort=name", "key", "name"),
    ("/users/1/keys?sort=-name", "key", "-name"),
    ("/users/1/keys?sort=createdAt", "key", "createdAt"),
    ("/users/1/keys?sort=-createdAt", "key", "-createdAt"),
    ("/users/1/keys?q=key&sort=-name", "key", "-name"),
    ("/users/1/keys?name=key%20500&sort=name", "key", ""),
    ("/user-groups?sort=-name", "user_group", "-name"),
    ("/user-groups?sort=createdAt", "user_group", "createdAt"),
    ("/model-groups?sort=-name", "model_group", "-name"),
    ("/model-limits?sort=id", "model_limit", "id"),
    ("/model-limits?sort=-id", "model_limit", "-id"),
    ("/model-limits?subjectType=user&sort=id", "model_limit", "id"),
    ("/model-limits?subjectType=user_group&sort=id", "model_limit", "id"),
    ("/model-limits?subjectType=key&sort=id", "model_limit", "id"),
    ("/model-limits?subjectType=user&sort=-id", "model_limit", "-id"),
    ("/model-limits?modelGroupId=3&sort=id", "model_limit", "id"),
    ("/model-limits?modelGroupId=3&subjectType=key&sort=id", "model_limit", "id"),
    ("/model-limits?modelGroupId=3&subjectType=user_group&sort=-id", "model_limit", "-id"),
    ("/model-limits?subjectId=5&sort=id", "model_limit", ""),
    ("/model-limits?subjectId=5&subjectType=user&sort=id", "model_limit", ""),
    ("/quota-boosts?sort=id", "quota_boost", "id"),
    ("/quota-boosts?sort=-expiresAt", "quota_boost", "-expiresAt"),
    ("/quota-boosts?modelGroupId=3&sort=-expiresAt", "quota_boost", "-expiresAt"),
    ("/quota-boosts?userId=3&sort=expiresAt", "quota_boost", ""),
    ("/quota-boosts?active=true&sort=expiresAt", "quota_boost", ""),
    ("/audit-logs?limit=100", "audit_log", ""),
    ("/audit-logs?from=1970-01-01T00:00:01Z&to=1970-01-01T00:00:02Z", "audit_log", ""),
    ("/audit-logs?sort=at", "audit_log", ""),
    ("/audit-logs?actor=token%203", "audit_log", ""),
    ("/audit-logs?action=delete", "audit_log", ""),
    ("/audit-logs?objectType=key&sort=at", "audit_log", ""),
    ("/audit-logs?objectType=user&objectId=700", "audit_log", ""),
    ("/audit-logs?actor=token%203&action=delete&objectType=key", "audit_log", ""),
    ("/refusals?limit=100", "refusals", ""),
    ("/refusals?sort=createdAt", "refusals", ""),
    ("/refusals?userId=7", "refusals", ""),
    ("/refusals?keyId=7&sort=createdAt", "refusals", ""),
    ("/usage?limit=100", "usage", ""),
    ("/usage?sort=settledAt", "usage", ""),
    ("/usage?userId=7&sort=settledAt", "usage", ""),
    ("/usage?userId=7", "usage", ""),
];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rows = if quick { 10_000 } else { 100_000 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .configure_from_args();
    let mut slow = Vec::new();
    for postgres in [false, true] {
        let api = runtime.block_on(Api::start(postgres));
        runtime.block_on(crowd::fill(&api.db, rows));
        let mut group = criterion.benchmark_group(format!("lists/{}/{rows} rows", api.name));
        let mut slowest = (Duration::ZERO, String::new());
        for &(path, kind, order) in LISTS {
            let path = if path.contains("limit=") { path.to_owned() } else { format!("{path}&limit=100") };
            for (which, path) in runtime.block_on(pages(&api, &path, kind, order)) {
                let mut took: Vec<Duration> = (0..ROUNDS)
                    .map(|_| {
                        let start = Instant::now();
                        runtime.block_on(api.get(&path));
                        start.elapsed()
                    })
                    .collect();
                took.sort();
                let name = format!("{} {which}", path.split("&cursor").next().unwrap());
                // What else the machine does at times is not the page's fault.
                let usual = took[ROUNDS / 4];
                slowest = slowest.max((usual, name.clone()));
                if usual > MOST {
                    slow.push(format!("{}: {name} took {usual:?}", api.name));
                }
                // A quick look has seen enough.
                if !quick {
                    group.bench_function(name, |b| b.iter(|| runtime.block_on(api.get(&path))));
                }
            }
        }
        let took = runtime.block_on(summary(&api));
        println!("{}: a summary of {rows} rows by user and model, from sums of quarters: {took:?}", api.name);
        group.finish();
        println!("{}: the slowest page of {rows} rows: {slowest:?}", api.name);
    }
    criterion.final_summary();
    if slow.is_empty() {
        println!("every page within {MOST:?}: REACHED");
    } else {
        println!("every page within {MOST:?}: MISSED\n{}", slow.join("\n"));
    }
}

/// How long a summary of the whole ledger takes once it is summed up.
async fn summary(api: &Api) -> Duration {
    // Rows are of 1970.
    tollgate::ledger::quarters::roll_up(&api.db, 1_000_000_000_000).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let found = api.get("/usage/summary?groupBy=userId,model&to=2000-01-01T00:00:00Z").await;
        took.push(start.elapsed());
        assert_eq!(found["items"].as_array().unwrap().len(), 100);
    }
    took.sort();
    took[ROUNDS / 4]
}

/// The first page, and the last full one: it is found by asking from the other end.
async fn pages(api: &Api, path: &str, kind: &str, order: &str) -> Vec<(&'static str, String)> {
    let mut pages = vec![("first", path.to_owned())];
    let first = api.get(path).await;
    if let Some(next) = first["pageInfo"]["nextCursor"].as_str() {
        pages.push(("second", format!("{path}&cursor={next}")));
    }
    if order.is_empty() {
        return pages;
    }
    let (word, other) = order.strip_prefix('-').map_or((order, format!("-{order}")), |word| (word, word.to_owned()));
    let turned = api.get(&path.replace(&format!("sort={order}"), &format!("sort={other}"))).await;
    if let Some(place) = turned["items"].as_array().unwrap().last() {
        let key = match word {
            "createdAt" | "expiresAt" => {
                json!(place[word].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond())
            }
            word => place[word].clone(),
        };
        let place = if order == "id" { json!([kind, key]) } else { json!([kind, [order, key, place["id"]]]) };
        pages.push(("last", format!("{path}&cursor={}", URL_SAFE_NO_PAD.encode(place.to_string()))));
    }
    pages
}
