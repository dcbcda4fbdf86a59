//! How long it takes to read what a budget has spent, in a small ledger and in a large one. Ten million rows with sums of
//! nearly as many minutes take some 15 GB of disk on PostgreSQL while it runs; `--rows` makes do with less.

use std::sync::Arc;
use std::time::{Duration, Instant};

use migration::{SchemaManager, Step, m0002_budgets, m0003_longer_sums};
use sea_orm::ConnectionTrait as _;
use tollgate::budget::{SeedQuery, Seeds as _, WindowQuery};
use tollgate::ledger::{Ledger, LedgerOptions, LedgerSeeds, begin_life};
use tollgate::limit::{Axis, BudgetId, Scope, Window, provider_owner};

use crate::database::Database;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// The last minute in which something was spent; no longer span begins with it.
const NOW: i64 = 29_342_040;

/// Rows per minute: half of them of one busy user, the others of a thousand.
const PER_MINUTE: u64 = 8;

const ROUNDS: usize = 21;

/// What the sum of a window may take in the middle of its rounds, whatever the ledger's size.
const MOST: Duration = Duration::from_millis(5);

/// By how much more it may take in a ledger of ten times the size; and what no machine tells apart from its own noise.
const GROWTH: u32 = 3;
const NOISE: Duration = Duration::from_millis(1);

pub async fn run(rows: u64) {
    for database in [Database::postgres().await, Database::sqlite().await] {
        let inc = begin_life(&database.db, "bench", true, 1).await.unwrap();
        let ledger = Arc::new(Ledger::start(database.db.clone(), inc, LedgerOptions::default()));
        let seeds = LedgerSeeds::new(database.db.clone(), Arc::clone(&ledger));
        seeds.set_providers(["anthropic"]);
        let mut medians = Vec::new();
        // The newest first, and then what is older.
        let small = rows / 10;
        for (from, until) in [(rows - small, rows), (0, rows - small)] {
            fill(&database, rows, from, until).await;
            let there = rows - from;
            let days = there / PER_MINUTE / 60 / 24;
            println!("{}: a ledger of {there} rows in {days} days; milliseconds per sum:", database.name);
            medians.push(measure(&seeds).await);
        }
        for (at, (small, large)) in medians[0].iter().zip(&medians[1]).enumerate() {
            assert!(*small < MOST && *large < MOST, "sum {at} takes {small:?} and {large:?}, the aim is {MOST:?}");
            assert!(*large < (*small * GROWTH).max(NOISE), "sum {at} grows with the ledger: {small:?} and {large:?}");
        }
        println!("  every sum under {MOST:?}: REACHED; none more than {GROWTH} times slower in the large ledger");
        for table in ["usage_ledger", "usage_rollup_minute", "usage_rollup_span"] {
            let count = database.number(&format!("SELECT COUNT(*) FROM {table}")).await;
            println!("  {table}: {count} rows, {:.1} MB", database.size(table).await as f64 / 1e6);
        }
        ledger.flush_and_stop(Duration::from_secs(10)).await;
    }
}

/// The median of each window's sum.
async fn measure(seeds: &LedgerSeeds) -> Vec<Duration> {
    let mut medians = Vec::new();
    let now = NOW * MINUTE;
    let windows = [
        ("5 h", Window::FiveHours, now - 5 * 60 * MINUTE),
        ("day", Window::Daily, now - DAY),
        ("week", Window::Weekly, now - 7 * DAY),
        ("month", Window::Monthly, now - 31 * DAY),
        ("total", Window::Total, i64::MIN),
    ];
    for (name, axis, owner, scope) in [
        ("user", Axis::User, 1, Scope::Mainline),
        ("user's model group", Axis::User, 1, Scope::ModelGroup(1)),
        ("key", Axis::Key, 1, Scope::Mainline),
        ("provider", Axis::Provider, provider_owner("anthropic"), Scope::Mainline),
    ] {
        let mut line = format!("  {name:20}");
        for (title, window, from) in windows {
            let window = WindowQuery { window, since_era: 0, from, by_minute: false, first_charge: false };
            let query = SeedQuery { budget: BudgetId { axis, owner, scope }, windows: vec![window] };
            let mut took = Vec::new();
            for _ in 0..ROUNDS {
                let start = Instant::now();
                let seed = seeds.seed(&query).await.unwrap();
                took.push(start.elapsed());
                assert!(seed.windows[0].sum.nanos() > 0);
            }
            took.sort();
            line += &format!("{title} {:.2}   ", took[ROUNDS / 2].as_secs_f64() * 1e3);
            medians.push(took[ROUNDS / 2]);
        }
        println!("{line}");
    }
    medians
}

/// Rows of the ledger by number, the last one in the minute `NOW`; then all sums, as a migration makes them.
async fn fill(database: &Database, rows: u64, from: u64, until: u64) {
    let last = until - 1;
    let numbers = if database.is_postgres() {
        format!("generate_series({from}::bigint, {last}::bigint) AS n(i)")
    } else {
        format!(
            "(WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n)"
        )
    };
    let oldest = NOW - i64::try_from((rows - 1) / PER_MINUTE).unwrap();
    let settled = format!("({oldest} + i / {PER_MINUTE}) * 60000 + i % {PER_MINUTE} * 1000");
    let user = "CASE WHEN i % 2 = 0 THEN 1 ELSE i / 2 % 997 + 2 END";
    let sql = format!(
        "INSERT INTO usage_ledger (request_id, attempt, created_at, settled_at, user_id, key_id, provider, dialect, \
         requested_model, served_model, model_group_id, outcome, estimated, status, duration_ms, first_byte_ms, \
         input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, \
         reasoning_tokens, input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, \
         web_searches, service_tier, cost_nanos, counted_in_user_global, counted_in_key_global) \
         SELECT '00000000-0000-7000-8000-' || (100000000000 + i), 1, {settled}, {settled}, {user}, {user}, \
         CASE WHEN i % 5 = 0 THEN 'openai' ELSE 'anthropic' END, 'anthropic', 'claude-sonnet-4-5', \
         'claude-sonnet-4-5-20250929', 1, 'completed', false, 200, 1500, 300, 1200, 300, 4000, 0, 0, 0, 0, 0, 0, 0, 0, \
         'standard', 9300000 + i % 1000, i % 4 < 2, i % 8 < 6 FROM {numbers}"
    );
    database.db.execute_unprepared(&sql).await.unwrap();
    for step in m0002_budgets::steps().into_iter().chain(m0003_longer_sums::steps()) {
        if matches!(step, Step::Sql(sql) if sql.starts_with("INSERT INTO usage_rollup")) {
            step.run(&SchemaManager::new(&database.db)).await.unwrap();
        }
    }
    database.db.execute_unprepared("ANALYZE").await.unwrap();
}
