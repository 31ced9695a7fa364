//! Many texts in one buffer, with binary search: ids, dictionaries of text features, the last ids of blocks.
//!
//! A list of `String`s needs an allocation per text, and a search in the list waits for memory at each
//! comparison.

/// Texts by position, stored back to back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedTexts {
    text: String,
    /// End of each text in `text`, in bytes.
    ends: Vec<usize>,
}

impl PackedTexts {
    /// Appends a text. [`PackedTexts::search`] requires the texts in ascending order.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Returns the number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Checks whether there are no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<usize>()
    }

    /// Returns the text at `position`, which must be less than [`PackedTexts::len`].
    #[must_use]
    pub fn get(&self, position: usize) -> &str {
        &self.text[self.start(position)..self.ends[position]]
    }

    /// Iterates over the texts in the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|position| self.get(position))
    }

    /// Returns the position of the first text that is not less than `text`, by binary search in the sorted
    /// texts.
    #[must_use]
    pub fn lower_bound(&self, text: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            // Bytes have the order of texts, and slicing bytes needs no check for character boundaries.
            if self.get_bytes(middle) < text.as_bytes() { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Searches the sorted texts for `text`.
    ///
    /// # Errors
    /// The position of the first greater text if there is no such text.
    pub fn search(&self, text: &str) -> Result<usize, usize> {
        let at = self.lower_bound(text);
        if at < self.len() && self.get_bytes(at) == text.as_bytes() { Ok(at) } else { Err(at) }
    }

    fn start(&self, position: usize) -> usize {
        if position == 0 { 0 } else { self.ends[position - 1] }
    }

    fn get_bytes(&self, position: usize) -> &[u8] {
        &self.text.as_bytes()[self.start(position)..self.ends[position]]
    }
}

impl<'a> FromIterator<&'a str> for PackedTexts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut packed = Self::default();
        texts.into_iter().for_each(|text| packed.push(text));
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_returns_position_or_insertion_point() {
        let texts: PackedTexts = ["", "b", "bé", "d"].into_iter().collect();
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["", "b", "bé", "d"]);
        assert_eq!((texts.len(), texts.get(2)), (4, "bé"));
        for (position, text) in texts.iter().enumerate() {
            assert_eq!(texts.search(text), Ok(position));
        }
        assert_eq!((texts.search("a"), texts.search("c"), texts.search("e")), (Err(1), Err(3), Err(4)));
        assert_eq!(PackedTexts::default().search("a"), Err(0));
    }
}
