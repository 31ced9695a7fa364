//! Bitmaps: sets of customers with one bit per customer, in words of 64 bits.
//!
//! The bits are not compressed. A million customers take 122 KiB, which fits into the L2 cache, and `and`,
//! `or` and `not` take one instruction for 64 customers.

/// A set of customers, by customer number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// Creates the empty set of `len` customers.
    #[must_use]
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Creates the set of all `len` customers.
    #[must_use]
    pub fn full(len: usize) -> Self {
        let mut all = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        all.trim();
        all
    }

    /// Creates the set with the bits of `words`. Bits beyond `len` are dropped.
    pub(super) fn from_words(words: Vec<u64>, len: usize) -> Self {
        let mut bitmap = Self { words, len };
        bitmap.words.resize(len.div_ceil(64), 0);
        bitmap.trim();
        bitmap
    }

    /// Clears the bits beyond `len`.
    fn trim(&mut self) {
        if self.len.is_multiple_of(64) {
            return;
        }
        if let Some(last) = self.words.last_mut() {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }

    /// Returns the number of customers, members or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Checks whether there are no customers at all, members or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the words. The first customer is the lowest bit of the first word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Returns the number of members.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the number of customers that are in both sets.
    #[must_use]
    pub fn count_common(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(word, other)| (word & other).count_ones() as usize).sum()
    }

    /// Adds `customer`, unless out of range.
    pub fn insert(&mut self, customer: usize) {
        if customer < self.len {
            self.words[customer / 64] |= 1 << (customer % 64);
        }
    }

    /// Adds `customer` if `is_member` is true, without a branch on it: conditions on events are hard to
    /// predict.
    pub(super) fn insert_if(&mut self, customer: usize, is_member: bool) {
        if customer < self.len {
            self.words[customer / 64] |= u64::from(is_member) << (customer % 64);
        }
    }

    /// Removes `customer`.
    pub fn remove(&mut self, customer: usize) {
        if customer < self.len {
            self.words[customer / 64] &= !(1 << (customer % 64));
        }
    }

    /// Checks whether `customer` is a member.
    #[must_use]
    pub fn contains(&self, customer: usize) -> bool {
        self.words.get(customer / 64).is_some_and(|word| word >> (customer % 64) & 1 == 1)
    }

    /// Removes the members of `other`.
    pub fn remove_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Adds the members of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Returns the members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }
}

/// Returns the indexes of the set bits of `word` in ascending order.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(bit)
    })
}

/// Sets the bits of the values for which `passes` is true. Writes bytes first and packs eight of them at a
/// time into bits, so that the compiler vectorizes the comparison.
pub(super) fn scan<T: Copy>(values: &[T], passes: impl Fn(T) -> bool, out: &mut [u64]) {
    for (word, values) in out.iter_mut().zip(values.chunks(64)) {
        let mut flags = [0_u8; 64];
        flags.iter_mut().zip(values).for_each(|(flag, value)| *flag = u8::from(passes(*value)));
        for (at, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
            let packed = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            *word |= packed << (8 * at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_has_exactly_the_inserted_members() {
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
