//! The current snapshot: whether a service could open it, and its age.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::{Examined, Finding};
use crate::{
    causes::with_causes,
    cli::counted::counted,
    config::ServingConfig,
    serving::{Serving, unmaskable},
    snapshot::rfc3339,
    telemetry::{KnownLabel, LakeFault, Metrics},
};

/// Age of a publish from which a warning is given.
const OLD: TimeDelta = TimeDelta::days(2);

pub(super) async fn check(examined: &mut Examined<'_>) -> Vec<Finding> {
    let (Some(lake), Some(current)) = (&examined.lake, &examined.current) else { return Vec::new() };
    let personal = examined.setup.config.personal();
    if let Some(why) = unmaskable(&personal) {
        return vec![Finding::failed("snapshot", &why, "correct `personal`")];
    }
    let metrics = Arc::new(Metrics::unobserved());
    let config = ServingConfig { memory: 0, ..examined.setup.config.serving.clone() };
    let serving = Serving::new(lake.clone(), &config, Arc::clone(&metrics)).declaring(personal);
    let advice = "build and publish anew, or run `larder rollback`";
    if let Err(error) = serving.refresh().await {
        return vec![Finding::failed("snapshot", &with_causes(&error), advice)];
    }
    let Ok(served) = serving.current() else {
        return vec![Finding::failed("snapshot", "CURRENT changed meanwhile", "run `larder doctor` again")];
    };
    let id = &served.manifest.id;
    let faults = LakeFault::ALL.iter().filter(|fault| metrics.lake_errors.of(**fault).get() > 0);
    let faults: Vec<&str> = faults.map(|fault| fault.as_str()).collect();
    let mut findings = Vec::new();
    if faults.is_empty() {
        let customers = counted(served.manifest.customers, "customer", "customers");
        let message = format!("{id} opens: {customers}");
        findings.push(Finding::ok("snapshot", &message));
    } else {
        let message = format!("files of {id} cannot be read: {}", faults.join(", "));
        findings.push(Finding::failed("snapshot", &message, advice));
    }
    let age = Utc::now() - current.published_at;
    let message = format!("published {}, as of {}", ago(age), rfc3339::format(served.manifest.as_of));
    findings.push(if age > OLD {
        Finding::warning("snapshot age", &message, "check that builds run and are not held back")
    } else {
        Finding::ok("snapshot age", &message)
    });
    examined.manifest = Some(served.manifest.as_ref().clone());
    findings
}

/// Returns the time of something that is `age` old, in words.
fn ago(age: TimeDelta) -> String {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    match (number(age.num_hours()), number(age.num_minutes())) {
        (0, 0) => "less than a minute ago".to_owned(),
        (0, minutes) => format!("{} ago", counted(minutes, "minute", "minutes")),
        (hours, _) => format!("{} ago", counted(hours, "hour", "hours")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_in_the_largest_whole_unit() {
        for (seconds, expected) in [
            // The clock of the publisher may be ahead.
            (-90, "less than a minute ago"),
            (59, "less than a minute ago"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (200_000, "55 hours ago"),
        ] {
            assert_eq!(ago(TimeDelta::seconds(seconds)), expected);
        }
    }
}
