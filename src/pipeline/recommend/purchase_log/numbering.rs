//! Numbers for texts.

use std::collections::HashMap;

use super::purchase::NONE;

/// Numbers for texts in the order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    numbers: HashMap<String, u32>,
    /// Texts by number.
    pub(super) texts: Vec<String>,
}

impl Numbering {
    /// Returns the number of `text`, assigning the next free number to a new text.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE);
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }
}
