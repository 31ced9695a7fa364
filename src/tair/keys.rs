//! The names of everything that Larder keeps in Tair. Pure.

/// Members of one page of a ranking.
pub const PAGE: usize = 1_000;

/// The keys of one namespace.
#[derive(Debug, Clone)]
pub struct Keys(String);

impl Keys {
    /// Keys that begin with `namespace`.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self(namespace.to_owned())
    }

    /// The publish that readers get.
    #[must_use]
    pub fn current(&self) -> String {
        format!("{}:current", self.0)
    }

    /// The publish under way, or left unfinished.
    #[must_use]
    pub fn publishing(&self) -> String {
        format!("{}:publishing", self.0)
    }

    /// The right to write. In the braces stands the other key that the flip needs: both lie in one slot of a cluster.
    #[must_use]
    pub fn lease(&self) -> String {
        format!("{0}:lease:{{{0}:current}}", self.0)
    }

    /// The views: their field and column names.
    #[must_use]
    pub fn views(&self) -> String {
        format!("{}:views", self.0)
    }

    /// The publishes that have an index, with what belongs to it, for whoever removes it.
    #[must_use]
    pub fn indexes(&self) -> String {
        format!("{}:indexes", self.0)
    }

    /// The list of the forgotten that everybody was taken out by.
    #[must_use]
    pub fn forgotten(&self) -> String {
        format!("{}:forgotten", self.0)
    }

    /// Those of them whose index is there whole, with their snapshot.
    #[must_use]
    pub fn whole_indexes(&self) -> String {
        format!("{}:indexes:whole", self.0)
    }

    /// One customer.
    #[must_use]
    pub fn customer(&self, id: &str) -> String {
        let mut key = String::with_capacity(self.0.len() + id.len() + 10);
        key.push_str(&self.0);
        key.push_str(":customer:");
        key.push_str(id);
        key
    }

    /// The id of the customer whose key is `key`.
    #[must_use]
    pub fn customer_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.0.as_str())?.strip_prefix(":customer:")
    }

    /// What matches all customers. Characters that a pattern takes for more than themselves are escaped.
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

    /// The members of a segment, as a Set.
    #[must_use]
    pub fn segment(&self, publish: u64, name: &str) -> String {
        format!("{}:segment:{publish}:{name}", self.0)
    }

    /// A page of a segment's members, best first, as a List.
    #[must_use]
    pub fn ranking(&self, publish: u64, name: &str, page: usize) -> String {
        format!("{}:ranking:{publish}:{name}:{page}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_contract() {
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
