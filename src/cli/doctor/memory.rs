//! Memory budgets against the limit of the container or the memory of the machine.

use indicatif::HumanBytes;

use super::{Examined, Finding};

/// Memory of a service besides its budgets, in bytes.
const BASE: u64 = 256 << 20;

pub(super) fn check(examined: &Examined<'_>) -> Vec<Finding> {
    let Some(limit) = limit() else {
        return vec![Finding::warning(
            "memory",
            "the memory limit is unknown",
            "compare the budgets in [serving] and [build] with the memory of the machine",
        )];
    };
    let config = &examined.setup.config;
    let serving = &config.serving;
    let budgets = [
        serving.cache,
        serving.audience_memory,
        serving.memory,
        serving.comparisons,
        config.http.bodies,
        BASE,
    ];
    vec![
        judge(
            "memory of serve",
            budgets.iter().sum(),
            limit,
            "lower the budgets in [serving] and `bodies` in [http], or raise the limit",
        ),
        judge(
            "memory of build",
            config.build.memory_limit,
            limit,
            "lower `memory_limit` in [build], or raise the limit",
        ),
    ]
}

fn judge(check: &'static str, wanted: u64, limit: u64, advice: &'static str) -> Finding {
    let message = format!("up to {} of {}", HumanBytes(wanted), HumanBytes(limit));
    if wanted > limit { Finding::warning(check, &message, advice) } else { Finding::ok(check, &message) }
}

/// Returns the memory limit of the container, or else the memory of the machine.
fn limit() -> Option<u64> {
    let number = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let container =
        number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    container.into_iter().chain(machine()).min()
}

/// Returns the memory of the machine.
fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
