//! Numbers for texts.

use std::collections::HashMap;

use super::purchase::NONE;

/// Numbers for texts in the order of their coming.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    numbers: HashMap<String, u32>,
    pub(super) ids: Vec<String>,
}

impl Numbers {
    pub(super) fn of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.ids.len()).unwrap_or(NONE);
        self.numbers.insert(text.to_owned(), number);
        self.ids.push(text.to_owned());
        number
    }
}
