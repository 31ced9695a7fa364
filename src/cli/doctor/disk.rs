//! The disk of the staging.

use indicatif::HumanBytes;

use super::{Examined, Finding};

/// Least free space without a warning, in bytes.
const LEAST: u64 = 1 << 30;
/// Space that a build needs for each byte of raw files.
const FACTOR: u64 = 2;

pub(super) fn check(examined: &Examined<'_>) -> Vec<Finding> {
    let config = &examined.setup.config;
    let folder = config.build.staging.as_ref().map_or_else(std::env::temp_dir, |path| config.resolve(path));
    let shown = folder.display();
    let advice = "set `staging` in [build] to a folder that this user may write";
    // A build creates the folder if its parent exists.
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(&folder);
    if let Err(error) = tempfile::tempfile_in(existing) {
        return vec![Finding::failed("staging", &format!("cannot write to {shown}: {error}"), advice)];
    }
    let free = match rustix::fs::statvfs(existing) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let message = format!("the free space of {shown} is unknown: {error}");
            return vec![Finding::warning("staging", &message, advice)];
        }
    };
    let raw: u64 =
        examined.manifest.iter().flat_map(|manifest| &manifest.sources).map(|source| source.bytes).sum();
    let wanted = LEAST.max(raw.saturating_mul(FACTOR));
    let message = format!("{} are free in {shown}", HumanBytes(free));
    vec![if free < wanted {
        let message = format!("{message}, and a build may need {}", HumanBytes(wanted));
        Finding::warning("staging", &message, "free space, or set `staging` in [build] to a larger disk")
    } else {
        Finding::ok("staging", &message)
    }]
}
