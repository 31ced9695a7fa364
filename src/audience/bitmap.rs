//! Sets of customers: a bit for each, in words of 64.
//!
//! Plain bits, and not compressed ones: a million customers are 122 KiB, so that the whole of a set passes through the nearest
//! caches, and and, or and not are one instruction for 64 customers.

/// A set of customers, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// Nobody of `len` customers.
    #[must_use]
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Everybody of `len` customers.
    #[must_use]
    pub fn full(len: usize) -> Self {
        let mut all = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        all.trim();
        all
    }

    /// Those of `words`; bits beyond `len` go.
    pub(super) fn from_words(words: Vec<u64>, len: usize) -> Self {
        let mut bitmap = Self { words, len };
        bitmap.words.resize(len.div_ceil(64), 0);
        bitmap.trim();
        bitmap
    }

    fn trim(&mut self) {
        if let Some(last) = self.words.last_mut().filter(|_| !self.len.is_multiple_of(64)) {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }

    /// Of how many customers it is a set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no customers, in it or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words, the first customer in the lowest bit of the first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many are in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the number of customers that are in both sets.
    #[must_use]
    pub fn count_common(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(word, other)| (word & other).count_ones() as usize).sum()
    }

    /// Puts `customer` in.
    pub fn insert(&mut self, customer: usize) {
        if customer < self.len {
            self.words[customer / 64] |= 1 << (customer % 64);
        }
    }

    /// Whether `customer` is in it.
    #[must_use]
    pub fn contains(&self, customer: usize) -> bool {
        self.words.get(customer / 64).is_some_and(|word| word >> (customer % 64) & 1 == 1)
    }

    /// Takes out those of `other`.
    pub fn remove_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Puts in those of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Those in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }
}

/// The places of the bits that are set.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_their_members_and_no_bit_more() {
        let mut some = Bitmap::empty(130);
        for customer in [0, 63, 64, 129, 130, 500] {
            some.insert(customer);
        }
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert!(some.contains(129) && !some.contains(1) && !some.contains(1_000));
        let mut others = Bitmap::full(130);
        assert_eq!((others.count(), others.count_common(&some), some.count_common(&others)), (130, 4, 4));
        others.remove_all(&some);
        assert_eq!((others.count(), others.count_common(&some)), (126, 0));
    }
}
