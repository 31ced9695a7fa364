//! Memory, threads and open files of a process.

use std::fs;

use anyhow::Context;

/// State of a process, as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Memory in MiB.
    pub(crate) rss: f64,
    pub(crate) threads: u64,
    pub(crate) files: usize,
}

impl Sample {
    /// Takes a sample of the process `pid`.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the server has ended")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.with_context(|| format!("no {name} in the status of the process"))
        };
        Ok(Self {
            rss: field("VmRSS:")?.parse::<f64>()? / 1024.0,
            threads: field("Threads:")?.parse()?,
            files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}
