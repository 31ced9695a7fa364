//! Scheduled builds: at times of a cron expression, or when raw files changed.
//!
//! Each build is a process of its own, so that its memory is free again when it ends, and a crash harms
//! nobody else. Of all processes with a schedule on one lake, one builds at a time.

use std::{
    ffi::OsString,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use rustix::process::{Pid, Signal, kill_process};

use super::{Setup, host, stop_signal::stop_signal};
use crate::{
    config::parse_duration,
    lake::Lake,
    snapshot::{
        BuildLease, BuildOutcome, BuildRecord, BuildTrigger, ListedFile, Manifest, SnapshotError, pending,
        raw_files, read_current,
    },
};

/// Longest sleep until the next time, so that a changed clock counts.
const DOZE: Duration = Duration::from_secs(30);
/// Shortest and longest pause before a failed build is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// Time that a build has to end after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// When builds run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ScheduleArgs {
    /// Build at the times of a cron expression of five fields, in UTC
    #[arg(long, value_name = "CRON", value_parser = cron)]
    every: Option<Box<Cron>>,
    /// Build when raw files changed; look at them in this interval
    #[arg(long, value_name = "INTERVAL", value_parser = interval, conflicts_with = "every")]
    watch: Option<Duration>,
    /// After each scheduled build, keep the N newest snapshots and remove the others
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

fn cron(text: &str) -> Result<Box<Cron>, String> {
    let parsed: Cron = text.parse().map_err(|error: croner::errors::CronError| error.to_string())?;
    if text.split_whitespace().count() != 5 && !text.starts_with('@') {
        return Err("a cron expression has five fields: minute, hour, day, month, weekday".to_owned());
    }
    Ok(Box::new(parsed))
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(interval) }
}

impl ScheduleArgs {
    /// Returns the schedule; `None` if there is none.
    pub(super) fn schedule(&self) -> anyhow::Result<Option<Schedule>> {
        let when = match (&self.every, self.watch) {
            (Some(cron), _) => When::Every(cron.clone()),
            (None, Some(interval)) => When::Watch(interval),
            (None, None) if self.keep.is_some() => anyhow::bail!("--keep needs --every or --watch"),
            (None, None) => return Ok(None),
        };
        Ok(Some(Schedule { when, keep: self.keep, options: Vec::new() }))
    }
}

#[derive(Debug, Clone)]
enum When {
    Every(Box<Cron>),
    Watch(Duration),
}

/// Builds to run, and when.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    when: When,
    keep: Option<usize>,
    /// Further options of `larder build`.
    options: Vec<OsString>,
}

/// Reason for a build that is due.
struct Due {
    trigger: BuildTrigger,
    /// Time from which a build of another process counts as this one.
    since: DateTime<Utc>,
}

impl Schedule {
    /// Adds options of `larder build`.
    pub(super) fn with_options(mut self, options: Vec<OsString>) -> Self {
        self.options.extend(options);
        self
    }

    /// Builds whenever a build is due, until SIGTERM or Ctrl-C.
    pub(super) async fn run(&self, setup: &Setup) -> anyhow::Result<()> {
        let (stop, lake) = (stop_signal()?, setup.lake()?);
        tokio::select! {
            () = stop => Ok(()),
            () = self.repeat(setup, &lake) => Ok(()),
        }
    }

    /// Builds whenever a build is due. Never returns. A build under way is stopped if the future is dropped.
    pub(super) async fn repeat(&self, setup: &Setup, lake: &Lake) {
        let mut failures = 0;
        let mut watched = Watched::default();
        loop {
            let due = match &self.when {
                When::Every(cron) => next_time(cron, failures).await,
                When::Watch(interval) => watched.change(lake, *interval, failures).await,
            };
            match self.build(setup, lake, &due).await {
                Ok(true) => failures = 0,
                Ok(false) => failures += 1,
                Err(error) => {
                    failures += 1;
                    tracing::error!(error = format!("{error:#}"), "scheduled build failed");
                }
            }
        }
    }

    /// Runs a build that is due, unless another process runs it. Returns whether nothing is left to do.
    async fn build(&self, setup: &Setup, lake: &Lake, due: &Due) -> anyhow::Result<bool> {
        let Some(lease) = BuildLease::take(lake).await? else {
            tracing::info!("another process runs the scheduled build");
            return Ok(true);
        };
        let done = self.build_alone(setup, lake, due).await;
        lease.release().await;
        done
    }

    async fn build_alone(&self, setup: &Setup, lake: &Lake, due: &Due) -> anyhow::Result<bool> {
        let is_done =
            |record: &BuildRecord| record.started_at >= due.since && record.outcome != BuildOutcome::Failed;
        if BuildRecord::list(lake, 1).await?.first().is_some_and(is_done) {
            tracing::info!("another process has run the scheduled build");
            return Ok(true);
        }
        let started_at = Utc::now();
        tracing::info!(trigger = ?due.trigger, "scheduled build started");
        let trigger = if due.trigger == BuildTrigger::Every { "every" } else { "watch" };
        let mut arguments: Vec<OsString> = ["build", "--trigger", trigger].map(Into::into).to_vec();
        arguments.extend(self.options.iter().cloned());
        let status = larder(setup, &arguments).await?;
        let record = BuildRecord::list(lake, 1).await?.into_iter().next();
        // A build that is killed, or that does not come so far, leaves no record.
        let record = match record {
            Some(record) if record.started_at >= started_at - TimeDelta::seconds(1) => record,
            _ => {
                let record = BuildRecord {
                    started_at,
                    ended_at: Utc::now(),
                    outcome: BuildOutcome::Failed,
                    trigger: due.trigger,
                    snapshot: None,
                    error: Some(format!("the build ended with {status}")),
                    host: host(),
                };
                record.write(lake).await?;
                record
            }
        };
        tracing::info!(outcome = ?record.outcome, error = record.error, "scheduled build ended");
        if record.outcome == BuildOutcome::Failed {
            return Ok(false);
        }
        if let Some(keep) = self.keep {
            let arguments = ["snapshots", "--keep", &keep.to_string()].map(Into::into);
            let status = larder(setup, &arguments).await?;
            if !status.success() {
                tracing::error!(%status, "cannot remove old snapshots");
            }
        }
        Ok(true)
    }
}

/// Runs this program with the configuration of `setup` and further `arguments`. The process is stopped if the
/// future is dropped.
async fn larder(setup: &Setup, arguments: &[OsString]) -> anyhow::Result<ExitStatus> {
    let program = std::env::current_exe().context("cannot find the program of this process")?;
    let mut command = Command::new(program);
    command.args(setup.global_arguments()).args(arguments);
    // The summary is in the manifest, and the outcome in the log.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().context("cannot start a process")?;
    let running = Running::new(&child);
    let ended = Arc::clone(&running.ended);
    let waiting = tokio::task::spawn_blocking(move || {
        let status = child.wait();
        ended.store(true, Ordering::Release);
        status
    });
    let status = waiting.await?.context("cannot wait for a process")?;
    drop(running);
    Ok(status)
}

/// A process that is stopped when dropped, unless it has ended.
struct Running {
    id: Option<Pid>,
    ended: Arc<AtomicBool>,
}

impl Running {
    fn new(child: &Child) -> Self {
        Self { id: i32::try_from(child.id()).ok().and_then(Pid::from_raw), ended: Arc::default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(id), Some(end)) = (self.id, Instant::now().checked_add(GRACE)) else { return };
        let has_ended = || self.ended.load(Ordering::Acquire);
        if has_ended() || kill_process(id, Signal::TERM).is_err() {
            return;
        }
        while !has_ended() {
            if Instant::now() > end {
                let _ = kill_process(id, Signal::KILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until the next time of `cron`, or after failures until the next attempt.
async fn next_time(cron: &Cron, failures: u32) -> Due {
    let begun = Utc::now();
    let next = cron.find_next_occurrence(&begun, false).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let retry = (failures > 0).then(|| begun + TimeDelta::from_std(backoff(failures)).unwrap_or_default());
    let at = retry.map_or(next, |retry| retry.min(next));
    loop {
        let left = (at - Utc::now()).to_std().unwrap_or_default();
        if left.is_zero() {
            return Due { trigger: BuildTrigger::Every, since: at };
        }
        tokio::time::sleep(left.min(DOZE)).await;
    }
}

/// Returns the pause before the next attempt.
fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << (failures - 1).min(16)).min(BACKOFF.1)
}

/// The raw files that `--watch` has seen.
#[derive(Default)]
struct Watched {
    /// Files of the last attempt to build.
    built: Option<Vec<ListedFile>>,
    /// Files of the last look, and the time of the first look with these.
    seen: Option<(Vec<ListedFile>, DateTime<Utc>)>,
}

impl Watched {
    /// Waits until raw files differ from those of the last build, and two looks in a row found the same
    /// files: a file may still be on its way. After failures, waits until the next attempt or a change.
    async fn change(&mut self, lake: &Lake, interval: Duration, failures: u32) -> Due {
        let retry = (failures > 0).then(|| Instant::now() + backoff(failures));
        loop {
            match raw_files(lake).await {
                Ok(files) => {
                    let is_due = match &self.built {
                        Some(built) => *built != files || retry.is_some_and(|retry| Instant::now() >= retry),
                        None => is_new(lake, &files).await,
                    };
                    let since = match &self.seen {
                        Some((seen, since)) if *seen == files => Some(*since),
                        _ => None,
                    };
                    if let (true, Some(since)) = (is_due, since) {
                        self.built = Some(files);
                        return Due { trigger: BuildTrigger::Watch, since };
                    }
                    if !is_due && self.built.is_none() {
                        self.built = Some(files.clone());
                    }
                    self.seen = Some((files, since.unwrap_or_else(Utc::now)));
                }
                Err(error) => tracing::warn!(%error, "cannot list the raw files"),
            }
            tokio::time::sleep(interval).await;
        }
    }
}

/// Checks whether the current snapshot was built from other files than `files`.
async fn is_new(lake: &Lake, files: &[ListedFile]) -> bool {
    let sources = async {
        let Some(current) = read_current(lake).await? else { return Ok::<_, SnapshotError>(None) };
        Ok(Some(Manifest::read(lake, &current.snapshot).await?.sources))
    };
    match sources.await {
        Ok(Some(sources)) => pending(files, &sources) > 0,
        Ok(None) => !files.is_empty(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the current snapshot");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_builds_are_tried_again_ever_later() {
        let minutes = [1, 2, 3, 6, 7, 40].map(|failures| backoff(failures).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn cron_expressions_have_five_fields() {
        let next = |text: &str| {
            let from = "2011-12-09T12:50:00Z".parse::<DateTime<Utc>>().expect("a time");
            let cron = cron(text).map_err(|error| format!("{text}: {error}"));
            cron.map(|cron| cron.find_next_occurrence(&from, false).expect("a time").to_rfc3339())
        };
        assert_eq!(next("0 3 * * *").expect("valid"), "2011-12-10T03:00:00+00:00");
        assert_eq!(next("*/15 * * * 1-5").expect("valid"), "2011-12-09T13:00:00+00:00");
        assert_eq!(next("0 6 * * 0").expect("valid"), "2011-12-11T06:00:00+00:00");
        for text in ["", "0 3 * *", "61 * * * *", "0 0 3 * * *", "nightly"] {
            assert!(next(text).is_err(), "{text}");
        }
    }
}
