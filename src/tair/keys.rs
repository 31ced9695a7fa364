//! Names of all keys that Larder keeps in Tair. No I/O.

/// Number of members in one page of a ranking.
pub const PAGE: usize = 1_000;

/// Keys of one namespace.
#[derive(Debug, Clone)]
pub struct Keys(String);

impl Keys {
    /// Creates keys that begin with `namespace`.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self(namespace.to_owned())
    }

    /// Returns the key of the record that names the publish readers get.
    #[must_use]
    pub fn current(&self) -> String {
        format!("{}:current", self.0)
    }

    /// Returns the key of the record of a publish in progress or unfinished.
    #[must_use]
    pub fn publishing(&self) -> String {
        format!("{}:publishing", self.0)
    }

    /// Returns the key that `larder doctor` writes and removes.
    #[must_use]
    pub fn probe(&self) -> String {
        format!("{}:doctor", self.0)
    }

    /// Returns the key of the publish lease. The braces hold the key of the current publish, which the
    /// activation changes under the lease: a cluster keeps both keys in one slot.
    #[must_use]
    pub fn lease(&self) -> String {
        format!("{0}:lease:{{{0}:current}}", self.0)
    }

    /// Returns the key of the Hash with the field and the column names of each view.
    #[must_use]
    pub fn views(&self) -> String {
        format!("{}:views", self.0)
    }

    /// Returns the key of the Hash with the lists of each publish's index, from which the index can be
    /// removed.
    #[must_use]
    pub fn indexes(&self) -> String {
        format!("{}:indexes", self.0)
    }

    /// Returns the key of the version of the erasure list that this Tair was last purged against.
    #[must_use]
    pub fn forgotten(&self) -> String {
        format!("{}:forgotten", self.0)
    }

    /// Returns the key of the Hash of publishes whose index is complete, each with the snapshot it was built
    /// from.
    #[must_use]
    pub fn whole_indexes(&self) -> String {
        format!("{}:indexes:whole", self.0)
    }

    /// Returns the key of one customer.
    #[must_use]
    pub fn customer(&self, id: &str) -> String {
        let mut key = String::with_capacity(self.0.len() + id.len() + 10);
        key.push_str(&self.0);
        key.push_str(":customer:");
        key.push_str(id);
        key
    }

    /// Returns the id of the customer whose key is `key`.
    #[must_use]
    pub fn customer_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.0.as_str())?.strip_prefix(":customer:")
    }

    /// Returns the pattern that matches the keys of all customers. Special characters of the namespace are
    /// escaped.
    #[must_use]
    pub fn customers_pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.0.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + ":customer:*"
    }

    /// Returns the key of the Set of a segment's members.
    #[must_use]
    pub fn segment(&self, publish: u64, name: &str) -> String {
        format!("{}:segment:{publish}:{name}", self.0)
    }

    /// Returns the key of the List with one page of a segment's ranking.
    #[must_use]
    pub fn ranking(&self, publish: u64, name: &str, page: usize) -> String {
        format!("{}:ranking:{publish}:{name}:{page}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_stable() {
        let keys = Keys::new("larder");
        assert_eq!(keys.customer("a:b"), "larder:customer:a:b");
        assert_eq!(keys.customer_of("larder:customer:a:b"), Some("a:b"));
        assert_eq!(keys.customer_of("larder:current"), None);
        assert_eq!(keys.segment(7, "champions"), "larder:segment:7:champions");
        assert_eq!(keys.ranking(7, "champions", 2), "larder:ranking:7:champions:2");
        assert_eq!(keys.lease(), "larder:lease:{larder:current}");
        assert_eq!(Keys::new("a*b").customers_pattern(), "a\\*b:customer:*");
    }
}
