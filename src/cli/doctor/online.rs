//! Tair: rights of the user, memory policy, and the publish that it holds.

use super::{Examined, Finding};
use crate::{
    config::TairConfig,
    tair::{Inspection, TairError, Writer},
};

/// Share of the memory limit from which a warning is given, in percent.
const FULL: u64 = 90;

pub(super) async fn check(examined: &Examined<'_>) -> Vec<Finding> {
    let Some(config) = &examined.setup.config.tair else {
        return vec![Finding::ok("Tair", "not configured; reads come from the snapshot")];
    };
    inspect(config, examined).await.unwrap_or_else(|error| {
        let advice =
            "check `url`, the password and `ca_file` in [tair]; reads come from the snapshot meanwhile";
        vec![Finding::failed("Tair", &error.to_string(), advice)]
    })
}

async fn inspect(config: &TairConfig, examined: &Examined<'_>) -> Result<Vec<Finding>, TairError> {
    let writer = Writer::connect(config).await?;
    let inspected = writer.inspect().await;
    let marker = writer.marker().await;
    writer.quit().await;
    let inspection = inspected?;
    let kind = if inspection.is_cluster { "cluster" } else { "single server" };
    let version = inspection.version.as_deref().unwrap_or("unknown");
    let millis = inspection.latency.as_secs_f64() * 1_000.0;
    let mut findings = vec![
        Finding::ok("Tair", &format!("{kind}, version {version} ({millis:.1} ms)")),
        rights(&inspection),
        policy(&inspection),
    ];
    findings.extend(memory(&inspection));
    let Some(current) = &examined.current else { return Ok(findings) };
    findings.push(match marker? {
        None => Finding::warning(
            "Tair publish",
            "Tair holds no publish; reads come from the snapshot",
            "run `larder publish --current`",
        ),
        Some(marker) if marker.lake.is_some() && marker.lake != current.lake => Finding::failed(
            "Tair publish",
            "Tair holds the customers of another lake; reads come from the snapshot",
            "give each lake a `namespace` of its own in [tair], then run `larder publish --current`",
        ),
        Some(marker) if marker.publish < current.publish => Finding::warning(
            "Tair publish",
            &format!("Tair holds publish {}, and CURRENT names {}", marker.publish, current.publish),
            "run `larder publish --current`",
        ),
        Some(marker) if marker.publish > current.publish => Finding::warning(
            "Tair publish",
            &format!("Tair holds publish {}, and CURRENT names {}", marker.publish, current.publish),
            "a publish may be under way; else run `larder publish --current`",
        ),
        Some(marker) => Finding::ok("Tair publish", &format!("{}, as CURRENT names", marker.publish)),
    });
    Ok(findings)
}

/// Judges the rights of the user.
fn rights(inspection: &Inspection) -> Finding {
    match (&inspection.reads, &inspection.writes) {
        (Err(error), _) => {
            Finding::failed("Tair rights", &error.to_string(), "give the user the rights in deploy/tair.acl")
        }
        (Ok(()), Ok(())) => Finding::ok("Tair rights", "the user may read and write"),
        (Ok(()), Err(TairError::Refused(why))) if why.starts_with("NOPERM") => {
            Finding::ok("Tair rights", "the user may read and not write, which is enough for `serve`")
        }
        (Ok(()), Err(error)) => Finding::warning(
            "Tair rights",
            &format!("the user may read; a write failed: {error}"),
            "builds and publishes need a server that accepts writes",
        ),
    }
}

fn policy(inspection: &Inspection) -> Finding {
    match inspection.memory_policy.as_deref() {
        Some("noeviction") => Finding::ok("Tair policy", "maxmemory-policy is noeviction"),
        Some(policy) => Finding::failed(
            "Tair policy",
            &format!("maxmemory-policy is {policy}, which removes customers when memory runs out"),
            "set maxmemory-policy to noeviction",
        ),
        None => Finding::warning(
            "Tair policy",
            "maxmemory-policy is unknown, since the server does not tell it",
            "make sure that it is noeviction",
        ),
    }
}

/// Warns if the memory is nearly full.
fn memory(inspection: &Inspection) -> Option<Finding> {
    let (used, limit) = (inspection.used_memory?, inspection.memory_limit?);
    let percent = used.saturating_mul(100).checked_div(limit)?;
    let message = format!("{percent} % of maxmemory is in use");
    Some(if percent >= FULL {
        Finding::warning("Tair memory", &message, "enlarge the instance, or a publish will fail")
    } else {
        Finding::ok("Tair memory", &message)
    })
}
