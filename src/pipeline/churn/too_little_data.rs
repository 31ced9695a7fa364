//! Reasons why there is too little data for a model.

use chrono::{DateTime, TimeDelta, Utc};

use super::selection::MIN_CLASS_SIZE;

/// Least number of customers at the latest cut.
const MIN_CUSTOMERS: usize = 200;

/// Returns the reason if the history is too short. `ended` are the times of the cuts whose horizon has ended,
/// oldest first.
pub(super) fn history(ended: &[DateTime<Utc>], horizon: TimeDelta) -> Option<String> {
    let days = horizon.num_days();
    let (Some(first), Some(latest)) = (ended.first(), ended.last()) else {
        return Some(format!(
            "the purchase history is too short for a horizon of {days} days: more than {} days are needed",
            days * 4 / 3
        ));
    };
    if *latest - *first < horizon {
        return Some(format!(
            "the purchase history is too short to measure a model with a horizon of {days} days: more than \
             {} days are needed",
            days * 7 / 3
        ));
    }
    None
}

/// Returns the reason if the latest cut whose horizon has ended has too few `customers`.
pub(super) fn customers(customers: usize) -> Option<String> {
    if customers >= MIN_CUSTOMERS {
        return None;
    }
    Some(format!(
        "{customers} customers had an order one horizon before as_of; at least {MIN_CUSTOMERS} are needed"
    ))
}

/// Returns the reason if no cut can be measured.
pub(super) fn classes() -> String {
    format!(
        "no cut has at least {MIN_CLASS_SIZE} churned and {MIN_CLASS_SIZE} retained customers both in the \
         cut and in the cuts before it"
    )
}
