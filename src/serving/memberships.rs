//! Segments of a customer, from the view `segments` of the customer's row.

use super::Served;
use crate::feature::{Row, elements};

impl Served {
    /// Checks whether the rows of the snapshot have the segments of each customer.
    #[must_use]
    pub fn has_segments(&self) -> bool {
        self.memberships.is_some()
    }

    /// Returns the number of views that customers' features have unless others are asked for: all but the
    /// view `segments`, which is the last.
    #[must_use]
    pub fn default_views(&self) -> usize {
        match &self.memberships {
            Some(place) if place.view + 1 == self.keys.len() => place.view,
            _ => self.keys.len(),
        }
    }

    /// Returns the personal features of the default views, as `view.feature`.
    #[must_use]
    pub fn default_personal(&self) -> &[String] {
        let hidden =
            self.keys[self.default_views()..].iter().map(|keys| keys.personal().len()).sum::<usize>();
        &self.personal[..self.personal.len() - hidden]
    }

    /// Returns the personal features of the view `segments`, as `view.feature`.
    #[must_use]
    pub fn segments_personal(&self) -> &[String] {
        &self.personal[self.default_personal().len()..]
    }

    /// Returns the names of the segments of a customer, sorted. Without `pii`, audiences that depend on
    /// personal features are left out.
    #[must_use]
    pub fn segments_of<'a>(&self, row: &'a Row, pii: bool) -> Vec<&'a str> {
        let Some(place) = &self.memberships else { return Vec::new() };
        let Some(values) = row.views.get(place.view) else { return Vec::new() };
        let list = |wanted: Option<usize>| wanted.and_then(|wanted| elements(values).nth(wanted));
        let personal = if pii { list(place.personal_names) } else { None };
        let lists = [list(place.names), personal].into_iter().flatten();
        // A null stands for no list. Names need no escaping, so their JSON is the name in quotes.
        let names = lists.filter(|list| list.starts_with(b"[")).flat_map(elements);
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let names = names.map(|name| name.trim_matches('"'));
        let mut names: Vec<&str> = names.filter(|name| pii || !place.personal.contains(*name)).collect();
        names.sort_unstable();
        names
    }
}
