//! What requests of a key to a model have used lately; until enough is known of the key, what all have used.
//!
//! Means follow the last few hundred answers. A mean alone would let a few small answers prepare a burst of large
//! ones, so it is never believed below a quarter of the largest of the last [`WINDOW`].

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use super::Asker;
use crate::dialect::Usage;

/// Answers that must have been seen before anything is believed, and that the largest is taken from.
const WINDOW: usize = 20;

/// Answers after which the sums are halved, so that old ones fade.
const FADE_AFTER: u32 = 256;

/// Stands for all keys together: ids begin with 1.
const ANYBODY: i64 = 0;

/// Pairs of model and key that share a lock.
const WAYS: usize = 8;

/// One million: ratios are in parts per million.
const MILLION: u128 = 1_000_000;

/// What has been learnt, per model and key. Bounded: where a pair needs room, the one of its neighbours that was not
/// used for longest is forgotten.
#[derive(Debug)]
pub struct Learnt {
    hasher: RandomState,
    buckets: Box<[Mutex<Bucket>]>,
}

#[derive(Debug, Default)]
struct Bucket {
    pairs: Vec<Pair>,
    /// Counts uses, to tell which pair was used last.
    uses: u64,
}

#[derive(Debug)]
struct Pair {
    /// Of the model's name. Names that collide would learn from each other, no more.
    model: u64,
    key: i64,
    used: u64,
    seen: Seen,
}

/// Sums over the answers of one pair, the old ones faded.
#[derive(Clone, Debug, Default)]
struct Seen {
    answers: usize,
    /// Answers since the sums were halved, and half of those before.
    weight: u32,
    bytes: u64,
    input: u64,
    output: u64,
    /// The last answers, in a ring.
    last: [Sample; WINDOW],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Input tokens per million bytes of body.
    input_ppm: u64,
    output: u64,
}

/// What to expect of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expectation {
    pub input: u64,
    pub output: u64,
}

impl Learnt {
    /// Knows nothing yet; will know at least `pairs` of model and key, if they are spread evenly.
    #[must_use]
    pub fn new(pairs: usize) -> Self {
        let buckets = pairs.div_ceil(WAYS).max(1).next_power_of_two();
        Self { hasher: RandomState::new(), buckets: std::iter::repeat_with(Mutex::default).take(buckets).collect() }
    }

    /// Learns from a whole answer with the provider's own numbers. `body_bytes` is the length of the request's body.
    pub fn record(&self, asker: Asker<'_>, body_bytes: u64, usage: &Usage) {
        for asker in [asker, Asker { key: ANYBODY, ..asker }] {
            self.with(asker, |seen| seen.add(body_bytes, usage.input_total(), usage.output_total()));
        }
    }

    /// What to expect: of this key, else of anybody; none as long as too little was seen.
    pub(super) fn expect(&self, asker: Asker<'_>, body_bytes: u64) -> Option<Expectation> {
        self.expect_of(asker, body_bytes).or_else(|| self.expect_of(Asker { key: ANYBODY, ..asker }, body_bytes))
    }

    fn expect_of(&self, asker: Asker<'_>, body_bytes: u64) -> Option<Expectation> {
        let model = self.hasher.hash_one(asker.model);
        let mut bucket = self.bucket(model, asker.key).lock();
        bucket.uses += 1;
        let uses = bucket.uses;
        let pair = bucket.pairs.iter_mut().find(|pair| pair.model == model && pair.key == asker.key)?;
        pair.used = uses;
        pair.seen.expect(body_bytes)
    }

    /// How many pairs something is kept of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.lock().pairs.len()).sum()
    }

    fn with(&self, asker: Asker<'_>, act: impl FnOnce(&mut Seen)) {
        let model = self.hasher.hash_one(asker.model);
        let mut bucket = self.bucket(model, asker.key).lock();
        bucket.uses += 1;
        let used = bucket.uses;
        let place = bucket.place(model, asker.key);
        let pair = &mut bucket.pairs[place];
        pair.used = used;
        act(&mut pair.seen);
    }

    fn bucket(&self, model: u64, key: i64) -> &Mutex<Bucket> {
        let place = usize::try_from(self.hasher.hash_one((model, key)) & (self.buckets.len() as u64 - 1));
        &self.buckets[place.unwrap_or(0)]
    }
}

impl Bucket {
    /// Where a pair is, or from now on will be.
    fn place(&mut self, model: u64, key: i64) -> usize {
        if let Some(place) = self.pairs.iter().position(|pair| pair.model == model && pair.key == key) {
            return place;
        }
        let fresh = Pair { model, key, used: 0, seen: Seen::default() };
        if self.pairs.len() < WAYS {
            self.pairs.push(fresh);
            return self.pairs.len() - 1;
        }
        let oldest = (0..self.pairs.len()).min_by_key(|place| self.pairs[*place].used).unwrap_or(0);
        self.pairs[oldest] = fresh;
        oldest
    }
}

impl Seen {
    fn add(&mut self, bytes: u64, input: u64, output: u64) {
        if self.weight >= FADE_AFTER {
            self.weight /= 2;
            self.bytes /= 2;
            self.input /= 2;
            self.output /= 2;
        }
        let input_ppm = (u128::from(input) * MILLION).div_ceil(u128::from(bytes.max(1)));
        let sample = Sample { input_ppm: u64::try_from(input_ppm).unwrap_or(u64::MAX), output };
        self.last[self.answers % WINDOW] = sample;
        self.answers += 1;
        self.weight += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.input = self.input.saturating_add(input);
        self.output = self.output.saturating_add(output);
    }

    fn expect(&self, bytes: u64) -> Option<Expectation> {
        if self.answers < WINDOW {
            return None;
        }
        let most_output = self.last.iter().map(|sample| sample.output).max().unwrap_or(0);
        let most_ppm = self.last.iter().map(|sample| sample.input_ppm).max().unwrap_or(0);
        let mean_ppm = (u128::from(self.input) * MILLION).div_ceil(u128::from(self.bytes.max(1)));
        let ppm = mean_ppm.max(u128::from(most_ppm / 4));
        let input = ppm.saturating_mul(u128::from(bytes)).div_ceil(MILLION);
        Some(Expectation {
            input: u64::try_from(input).unwrap_or(u64::MAX),
            output: self.output.div_ceil(u64::from(self.weight.max(1))).max(most_output / 4),
        })
    }
}
