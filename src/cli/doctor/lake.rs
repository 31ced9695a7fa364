//! The lake: listing, reading, writing, and its clock.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;

use super::{Examined, Finding};
use crate::{causes::with_causes, cli::counted::counted, lake::Lake, snapshot::read_current};

/// Greatest difference between the clocks without a warning.
const SKEW: TimeDelta = TimeDelta::seconds(30);
/// Advice if the lake cannot be reached.
const ACCESS: &str = "check `url`, `endpoint`, `region` and the credentials in [lake]";

pub(super) async fn check(examined: &mut Examined<'_>) -> Vec<Finding> {
    let lake = match examined.setup.lake() {
        Ok(lake) => lake,
        Err(error) => return vec![Finding::failed("lake", &format!("{error:#}"), ACCESS)],
    };
    let mut findings = Vec::new();
    let since = Instant::now();
    match lake.folders(&Path::from("snapshots")).await {
        Ok(found) => {
            let folders = counted(found.len() as u64, "snapshot folder", "snapshot folders");
            let message = format!("{} has {folders}{}", lake.url(), took(since));
            findings.push(Finding::ok("lake list", &message));
        }
        Err(error) => return vec![Finding::failed("lake list", &with_causes(&error), ACCESS)],
    }
    let since = Instant::now();
    match read_current(&lake).await {
        Ok(Some(current)) => {
            findings.push(Finding::ok("lake read", &format!("CURRENT{}", took(since))));
            examined.current = Some(current);
        }
        Ok(None) => findings.push(Finding::warning(
            "lake read",
            "there is no CURRENT: nothing was published",
            "run `larder build`",
        )),
        Err(error) => findings.push(Finding::failed("lake read", &with_causes(&error), ACCESS)),
    }
    findings.extend(write(&lake).await);
    examined.lake = Some(lake);
    findings
}

/// Returns the time since `since` in parentheses.
fn took(since: Instant) -> String {
    format!(" ({:.1} ms)", since.elapsed().as_secs_f64() * 1_000.0)
}

/// Writes, reads and removes an object.
async fn write(lake: &Lake) -> Vec<Finding> {
    let mut random = [0; 8];
    if let Err(error) = getrandom::fill(&mut random) {
        return vec![Finding::failed("lake write", &error.to_string(), "check the operating system")];
    }
    let path = Path::from(format!("doctor/{}", crate::snapshot::hex(&random)));
    let (since, before) = (Instant::now(), Utc::now());
    if let Err(error) = lake.put(&path, bytes::Bytes::from_static(b"larder doctor")).await {
        let advice = "builds and publishes need the right to write; `serve` does not";
        return vec![Finding::warning("lake write", &with_causes(&error), advice)];
    }
    let after = Utc::now();
    let mut findings = Vec::new();
    match lake.head(&path).await {
        Ok(Some(found)) => findings.push(clock(found.last_modified, before, after)),
        Ok(None) => findings.push(Finding::failed(
            "lake write",
            &format!("{path} was written, and is not there"),
            "use a store whose reads see the last write",
        )),
        Err(error) => {
            findings.push(Finding::failed("lake write", &with_causes(&error), "grant the right to read"));
        }
    }
    match lake.delete(&path).await {
        Ok(()) => findings.insert(0, Finding::ok("lake write", &format!("an object{}", took(since)))),
        Err(error) => {
            let message = format!("cannot remove {path}: {}", with_causes(&error));
            let advice = "`larder snapshots --keep` and `larder forget` need the right to delete";
            findings.push(Finding::warning("lake delete", &message, advice));
        }
    }
    findings
}

/// Compares the time that the store gave to an object with the time of this machine, which was between
/// `before` and `after` when the object was written. Stores give whole seconds.
fn clock(stored: DateTime<Utc>, before: DateTime<Utc>, after: DateTime<Utc>) -> Finding {
    let skew = if stored < before - TimeDelta::seconds(1) {
        before - stored
    } else if stored > after + TimeDelta::seconds(1) {
        stored - after
    } else {
        return Finding::ok("clock", "agrees with the clock of the lake");
    };
    let message = format!("differs from the clock of the lake by {} s", skew.num_seconds());
    if skew <= SKEW {
        return Finding::ok("clock", &message);
    }
    let advice = "synchronize the clock; signatures, expiry of keys and retention depend on it";
    Finding::warning("clock", &message, advice)
}
