//! API keys: expired, soon expiring, and none.

use chrono::{TimeDelta, Utc};

use super::{Examined, Finding};
use crate::snapshot::rfc3339;

/// Time before the expiry of a key from which a warning is given.
const SOON: TimeDelta = TimeDelta::days(14);

pub(super) fn check(examined: &Examined<'_>) -> Vec<Finding> {
    let config = &examined.setup.config;
    let mut findings = Vec::new();
    for key in &config.keys {
        let Some(end) = key.not_after else { continue };
        let time = rfc3339::format(end);
        if end <= Utc::now() {
            let message = format!("`{}` expired at {time}", key.name);
            findings.push(Finding::warning("keys", &message, "remove the key, or give its caller a new one"));
        } else if end <= Utc::now() + SOON {
            let message = format!("`{}` expires at {time}", key.name);
            findings.push(Finding::warning("keys", &message, "give its caller a new key with `larder key`"));
        }
    }
    let (is_open, listen) = (config.http.anonymous, config.http.listen);
    if config.keys.is_empty() && is_open {
        findings.push(Finding::warning(
            "keys",
            "every caller may read features, since `anonymous` is set and there are no keys",
            "generate keys with `larder key`, and remove `anonymous` in [http]",
        ));
    } else if config.keys.is_empty() && !listen.ip().is_loopback() {
        findings.push(Finding::failed(
            "keys",
            &format!(
                "there are none, and {listen} is reachable from other machines: `serve` refuses to start"
            ),
            "generate a key with `larder key`",
        ));
    } else if findings.is_empty() {
        let count = match config.keys.len() {
            0 => "none; callers on this machine have every scope".to_owned(),
            1 => "1 key".to_owned(),
            keys => format!("{keys} keys"),
        };
        findings.push(Finding::ok("keys", &count));
    }
    findings
}
