//! Watch over the memory of a build: samples the resident memory of the process, keeps the peak, and stops
//! the build at the limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::error::BuildError;
use crate::telemetry::Progress;

/// Interval of the samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// Watch over the resident memory of this process. A thread of its own takes the samples, since the stages
/// keep the threads of the runtime busy.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    /// Memory at which the build is stopped, in bytes.
    limit: u64,
    /// Greatest sample since the peak was last taken; 0 if there is none.
    peak: Arc<AtomicU64>,
    /// The first sample above the limit.
    above: watch::Receiver<Option<u64>>,
    /// Ends the thread when dropped.
    _stop: mpsc::Sender<()>,
}

impl MemoryWatch {
    /// Starts a watch with a limit of `limit` bytes.
    pub(super) fn start(limit: u64) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (exceed, above) = watch::channel(None);
        let peak = Arc::new(AtomicU64::new(0));
        let samples = Arc::clone(&peak);
        let sample = move || {
            let Some(bytes) = resident_bytes() else { return false };
            samples.fetch_max(bytes, Ordering::Relaxed);
            if bytes > limit {
                exceed.send_if_modified(|first| first.is_none() && first.replace(bytes).is_none());
            }
            true
        };
        if sample() {
            std::thread::spawn(move || {
                while stopped.recv_timeout(SAMPLE_INTERVAL) == Err(RecvTimeoutError::Timeout) && sample() {}
            });
        }
        Self { limit, peak, above, _stop: stop }
    }

    /// Returns the greatest memory since the last call, in bytes.
    pub(super) fn take_peak(&self) -> Option<u64> {
        let peak = self.peak.swap(0, Ordering::Relaxed);
        resident_bytes().map(|now| now.max(peak))
    }

    /// Runs `work`, stages of a build whose current one `progress` names, and stops it at the limit.
    ///
    /// # Errors
    /// Fails if `work` does, or with [`BuildError::Memory`].
    pub(super) async fn guard<T>(
        &self,
        progress: &Progress,
        work: impl Future<Output = Result<T, BuildError>>,
    ) -> Result<T, BuildError> {
        let mut above = self.above.clone();
        let exceeded = async {
            let used = above.wait_for(Option::is_some).await.ok().and_then(|used| *used);
            match used {
                Some(used) => used,
                // The thread has ended, since the system does not tell the memory.
                None => std::future::pending().await,
            }
        };
        // The work goes first: it names the stage, and its result counts even if it comes with the limit.
        tokio::select! {
            biased;
            result = work => result,
            used = exceeded => {
                Err(BuildError::Memory { stage: progress.stage(), used: used >> 20, limit: self.limit >> 20 })
            }
        }
    }
}

/// Returns the resident memory of this process, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_over_the_limit_is_stopped_and_the_stage_is_named() {
        let progress = Progress::default();
        progress.enter("model churn", 0);
        // Every process needs more than this.
        let watch = MemoryWatch::start(1 << 20);
        let error =
            watch.guard::<()>(&progress, std::future::pending()).await.expect_err("stopped").to_string();
        assert!(error.contains("model churn") && error.contains("(1 MiB)"), "{error}");
        assert!(watch.take_peak() > Some(1 << 20));
    }

    #[tokio::test]
    async fn work_below_the_limit_ends_by_itself() {
        let watch = MemoryWatch::start(u64::MAX);
        let result = watch.guard(&Progress::default(), async { Ok(7) }).await;
        assert_eq!(result.expect("not stopped"), 7);
    }
}
