//! How fast it is found which budgets pay for a request.
#![allow(clippy::expect_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tollgate::limit::{
    BoostRow, LimitData, LimitRow, Mode, ModelGroupRow, Owner, Snapshot, Subject, UserGroupRow, Window, WindowCap,
};
use tollgate::money::Usd;

const MODEL_GROUPS: i64 = 1_000;
const USERS: i64 = 20_000;
const USER_GROUPS: i64 = 200;

/// Each user is in so many user groups.
const MEMBERSHIPS: i64 = 3;

/// Half of them on users, a quarter each on user groups and keys.
const LIMITS: i64 = 100_000;

fn resolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("resolve/100000 rows");
    let snapshot = Snapshot::new(data());
    let requests: Vec<(Owner, Owner, String)> = (0..1_000).map(request).collect();

    group.bench_function("remembered", |b| {
        let mut next = (0..requests.len()).cycle();
        b.iter(|| {
            let (user, key, model) = &requests[next.next().expect("endless")];
            snapshot.resolve(black_box(user), black_box(key), black_box(model))
        });
    });
    group.bench_function("worked out", |b| {
        let mut stamp = 0;
        let mut next = requests.iter().cloned().cycle();
        b.iter_batched_ref(
            || {
                stamp += 1;
                let (mut user, mut key, model) = next.next().expect("endless");
                (user.stamp, key.stamp) = (stamp, stamp);
                (user, key, model)
            },
            |(user, key, model)| snapshot.resolve(user, key, model),
            BatchSize::SmallInput,
        );
    });
    let (user, key, _) = &requests[0];
    group.bench_function("no group", |b| b.iter(|| snapshot.resolve(user, key, black_box("gpt-of-nobody"))));
    group.finish();

    let mut group = c.benchmark_group("snapshot");
    group.sample_size(10);
    group.bench_function("100000 rows", |b| b.iter_batched(data, Snapshot::new, BatchSize::PerIteration));
    group.finish();
}

/// A user, one of its keys, both with limits of their own, and a model that both are limited for.
fn request(number: i64) -> (Owner, Owner, String) {
    let user = Owner { id: number + 1, mainline: caps(), stamp: 1, ..Owner::default() };
    let key = Owner { id: number + 1, mainline: caps(), stamp: 1, ..Owner::default() };
    (user, key, format!("model-{}-5", group_of(number)))
}

fn data() -> LimitData {
    let model_groups = (0..MODEL_GROUPS).map(|id| {
        let models = (0..10).map(|model| format!("model-{id}-{model}")).collect();
        ModelGroupRow { id, name: format!("group {id}"), models, stamp: id }
    });
    let user_groups = (0..USER_GROUPS).map(|id| {
        let members = (0..USERS).filter(|user| (user % USER_GROUPS - id).rem_euclid(USER_GROUPS) < MEMBERSHIPS);
        UserGroupRow { id, name: format!("team {id}"), members: members.collect(), stamp: id }
    });
    let limits = (0..LIMITS).map(|row| {
        let number = row / 4;
        let (subject, model_group_id) = match row % 4 {
            0 | 1 => (Subject::User(number + 1), (group_of(number) + row % 2) % MODEL_GROUPS),
            2 => (Subject::Key(number + 1), group_of(number)),
            _ => (Subject::UserGroup(number % USER_GROUPS), number / USER_GROUPS),
        };
        LimitRow { subject, model_group_id, caps: caps(), stamp: row }
    });
    let boosts = (0..1_000).map(|id| BoostRow {
        id,
        user_id: id + 1,
        model_group_id: group_of(id),
        window: Window::Daily,
        usd: Usd::from_nanos(Usd::NANOS_PER_USD),
        starts_at: 0,
        expires_at: 1_000,
        stamp: id,
    });
    LimitData {
        as_of: i64::MAX,
        model_groups: model_groups.collect(),
        user_groups: user_groups.collect(),
        limits: limits.collect(),
        boosts: boosts.collect(),
    }
}

/// The model group that the user and the key of this number are limited for: not next to that of the next number.
fn group_of(number: i64) -> i64 {
    number * 7 % MODEL_GROUPS
}

fn caps() -> Vec<WindowCap> {
    let modes =
        [Mode::Forever, Mode::Rolling, Mode::Calendar { at: 0 }, Mode::Calendar { at: 0 }, Mode::Calendar { at: 0 }];
    let usd = Usd::from_nanos(10 * Usd::NANOS_PER_USD);
    Window::ALL.into_iter().zip(modes).map(|(window, mode)| WindowCap { window, usd, mode }).collect()
}

criterion_group!(benches, resolution);
criterion_main!(benches);
