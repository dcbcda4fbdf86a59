//! Sets of providers, by their place in the catalogue.

/// Sets of this many providers need no memory of their own.
const WORDS: usize = 4;

const BITS: usize = u64::BITS as usize;

/// A set of places, all below the length that it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits(Words);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Words {
    Few([u64; WORDS]),
    Many(Box<[u64]>),
}

impl Bits {
    /// The empty set, with room for `length` places.
    #[must_use]
    pub fn none(length: usize) -> Self {
        let words = length.div_ceil(BITS);
        Self(if words <= WORDS { Words::Few([0; WORDS]) } else { Words::Many(vec![0; words].into()) })
    }

    fn words(&self) -> &[u64] {
        match &self.0 {
            Words::Few(words) => words,
            Words::Many(words) => words,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.0 {
            Words::Few(words) => words,
            Words::Many(words) => words,
        }
    }

    /// Adds a place.
    pub fn add(&mut self, place: usize) {
        if let Some(word) = self.words_mut().get_mut(place / BITS) {
            *word |= 1 << (place % BITS);
        }
    }

    /// Takes a place out.
    pub fn remove(&mut self, place: usize) {
        if let Some(word) = self.words_mut().get_mut(place / BITS) {
            *word &= !(1 << (place % BITS));
        }
    }

    /// Whether a place is in it.
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        self.words().get(place / BITS).is_some_and(|word| word & (1 << (place % BITS)) != 0)
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    /// Adds all of another.
    pub fn join(&mut self, other: &Self) {
        self.words_mut().iter_mut().zip(other.words()).for_each(|(word, other)| *word |= other);
    }

    /// Keeps what is in another too.
    pub fn meet(&mut self, other: &Self) {
        self.words_mut().iter_mut().zip(other.words()).for_each(|(word, other)| *word &= other);
    }

    /// The places, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words().iter().enumerate().flat_map(|(number, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let lowest = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(number * BITS + lowest)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(length in 1_usize..600, a in proptest::collection::btree_set(0_usize..600, 0..80), b in proptest::collection::btree_set(0_usize..600, 0..80)) {
            let within = |all: &BTreeSet<usize>| all.iter().copied().filter(|at| *at < length).collect::<BTreeSet<_>>();
            let (a, b) = (within(&a), within(&b));
            let set = |all: &BTreeSet<usize>| {
                let mut set = Bits::none(length);
                all.iter().for_each(|at| set.add(*at));
                set
            };
            let listed = |set: &Bits| set.iter().collect::<Vec<_>>();
            let expected = |all: &BTreeSet<usize>| all.iter().copied().collect::<Vec<_>>();
            prop_assert_eq!(listed(&set(&a)), expected(&a));
            let (mut both, mut either, mut less) = (set(&a), set(&a), set(&a));
            both.meet(&set(&b));
            either.join(&set(&b));
            b.iter().for_each(|at| less.remove(*at));
            prop_assert_eq!(listed(&both), expected(&(&a & &b)));
            prop_assert_eq!(listed(&either), expected(&(&a | &b)));
            prop_assert_eq!(listed(&less), expected(&(&a - &b)));
            prop_assert_eq!(both.is_empty(), (&a & &b).is_empty());
            prop_assert!((0..length).all(|at| set(&a).has(at) == a.contains(&at)));
        }
    }
}
