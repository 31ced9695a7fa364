//! `min_count` of `[privacy]`: counts of few customers are withheld from callers without the scope `pii`.
//!
//! In the answers about segments, which do not depend on the request, a count of 0 is shown. An audience of
//! nobody is refused like one of few customers, because its expression may describe one person.

use crate::{
    config::Scope,
    http::{App, Problem, access::Access},
};

/// Least count that a caller may see; 0 for all counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinCount(u64);

impl MinCount {
    /// Returns the setting as it applies to the caller.
    pub(crate) fn of(app: &App, access: &Access) -> Self {
        Self(if access.has(Scope::Pii) { 0 } else { app.min_count as u64 })
    }

    /// Returns the setting for the answer, if it applies to the caller.
    pub(crate) fn shown(self) -> Option<u64> {
        if self.0 > 0 { Some(self.0) } else { None }
    }

    /// Returns the least count as the number of members that it is compared with.
    pub(crate) fn members(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Checks whether the caller must not see `count`.
    pub(crate) fn withholds(self, count: u64) -> bool {
        (1..self.0).contains(&count)
    }

    /// Refuses a list of `count` customers if the caller must not see the count.
    pub(crate) fn check_list(self, count: u64) -> Result<(), Problem> {
        if self.withholds(count) { Err(self.refusal()) } else { Ok(()) }
    }

    /// Refuses an audience of `count` customers if there are fewer than the least count.
    pub(crate) fn check_audience(self, count: u64) -> Result<(), Problem> {
        if count < self.0 { Err(self.refusal()) } else { Ok(()) }
    }

    fn refusal(self) -> Problem {
        Problem::forbidden(format!(
            "fewer than {} customers, the `min_count` of this service; their number and the customers are \
             withheld from callers without the scope `pii`",
            self.0
        ))
    }
}
