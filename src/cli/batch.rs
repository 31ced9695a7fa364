//! Metrics of batch commands: written to a file for the textfile collector of the node exporter, and sent
//! to a Pushgateway.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use prometheus::{GaugeVec, Opts, Registry, TextEncoder};

use super::{Command, terminal};
#[cfg(feature = "build")]
use crate::snapshot::Manifest;

mod push;

/// Option of the commands that have metrics.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MetricsArgs {
    /// Write metrics of this run to FILE, for the textfile collector; one file for each command
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

impl MetricsArgs {
    /// Returns the file.
    #[cfg(feature = "build")]
    pub(super) fn file(&self) -> Option<&Path> {
        self.metrics_file.as_deref()
    }
}

/// Facts of a run that its command reports.
#[derive(Debug, Default)]
pub(super) struct RunFacts(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    pushgateway: Option<String>,
    /// Duration of each stage in seconds.
    stages: Vec<(String, f64)>,
    /// Number of raw lines by table and fate.
    lines: Vec<(String, String, u64)>,
    customers: Option<u64>,
    /// Whether the publish gate held the snapshot back.
    is_rejected: Option<bool>,
    /// Size of the kept staging in bytes.
    staged_bytes: Option<u64>,
}

impl RunFacts {
    fn with<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports the Pushgateway of the configuration.
    pub(super) fn set_pushgateway(&self, url: Option<String>) {
        self.with(|facts| facts.pushgateway = url);
    }

    /// Reports the snapshot that was built.
    #[cfg(feature = "build")]
    pub(super) fn built(&self, manifest: &Manifest) {
        self.with(|facts| {
            facts.stages.extend(manifest.stages.iter().map(|stage| (stage.name.clone(), stage.seconds)));
            for (table, counts) in &manifest.counts {
                let lines = counts.fates.iter().map(|(fate, lines)| (table.clone(), fate.clone(), *lines));
                facts.lines.extend(lines);
            }
            facts.customers = Some(manifest.customers);
            facts.is_rejected = Some(false);
        });
    }

    /// Reports that the publish gate held the snapshot back.
    #[cfg(feature = "build")]
    pub(super) fn rejected(&self) {
        self.with(|facts| facts.is_rejected = Some(true));
    }

    /// Reports the size of the kept staging.
    pub(super) fn staged(&self, bytes: u64) {
        self.with(|facts| facts.staged_bytes = Some(bytes));
    }

    /// Runs `work` as the stage `name`.
    #[cfg(feature = "build")]
    pub(super) async fn stage<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let result = work.await;
        self.with(|facts| facts.stages.push((name.to_owned(), since.elapsed().as_secs_f64())));
        result
    }
}

/// A run of a command that has metrics.
pub(super) struct Run {
    command: &'static str,
    file: Option<PathBuf>,
    since: Instant,
}

impl Run {
    /// Starts the run of `command`; `None` if the command has no metrics.
    pub(super) fn start(command: &Command) -> Option<Self> {
        let (command, args) = match command {
            #[cfg(feature = "build")]
            // Each build of a schedule is a run of its own.
            Command::Build(args) if !args.is_scheduled() => ("build", &args.metrics),
            Command::Publish(args) => ("publish", &args.metrics),
            Command::Verify(args) => ("verify", &args.metrics),
            Command::Snapshots(args) => ("snapshots", &args.metrics),
            Command::Forget(args) => ("forget", &args.metrics),
            _ => return None,
        };
        Some(Self { command, file: args.metrics_file.clone(), since: Instant::now() })
    }

    /// Writes and sends the metrics of the run, which ended with the exit code `code`. A failure is a
    /// warning: the work of the command is done.
    pub(super) fn finish(&self, code: u8, facts: &RunFacts) {
        let gateway = facts.with(|facts| facts.pushgateway.clone());
        if self.file.is_none() && gateway.is_none() {
            return;
        }
        let earlier = self.file.as_deref().and_then(|file| self.last_success(file));
        let rendered = facts.with(|facts| self.render(code, earlier, facts));
        let text = match rendered {
            Ok(text) => text,
            Err(error) => return terminal::warn(&format!("warning: no metrics: {error}")),
        };
        if let Some(file) = &self.file
            && let Err(error) = write(file, &text)
        {
            terminal::warn(&format!("warning: {error:#}"));
        }
        if let Some(url) = gateway
            && let Err(error) = push::send(&url, self.command, code == 0, text)
        {
            terminal::warn(&format!("warning: {error:#}"));
        }
    }

    /// Returns the time of the last success in the metrics file of an earlier run.
    fn last_success(&self, file: &Path) -> Option<f64> {
        let text = std::fs::read_to_string(file).ok()?;
        let start = format!("larder_{LAST_SUCCESS}{{command=\"{}\"}} ", self.command);
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    /// Returns the metrics as text.
    fn render(&self, code: u8, earlier: Option<f64>, facts: &Facts) -> Result<String, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = GaugeVec::new(Opts::new(format!("larder_{name}"), help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let of_command = |name: &str, help: &str, value: f64| {
            gauge(name, help, &["command"])?.with_label_values(&[self.command]).set(value);
            Ok::<_, prometheus::Error>(())
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit")]
        let now = now as f64 / 1_000.0;
        of_command("batch_last_run_timestamp_seconds", "Time when the last run ended.", now)?;
        if let Some(success) = if code == 0 { Some(now) } else { earlier } {
            of_command(LAST_SUCCESS, "Time when the last successful run ended.", success)?;
        }
        of_command("batch_last_exit_code", "Exit code of the last run; 0 is success.", f64::from(code))?;
        let seconds = self.since.elapsed().as_secs_f64();
        of_command("batch_duration_seconds", "Duration of the last run in seconds.", seconds)?;
        let help = "Duration of each stage of the last run in seconds.";
        let stages = gauge("batch_stage_duration_seconds", help, &["command", "stage"])?;
        for (stage, seconds) in &facts.stages {
            stages.with_label_values(&[self.command, stage]).set(*seconds);
        }
        let help = "Number of raw lines of the last build by table and fate.";
        let lines = gauge("build_lines", help, &["table", "fate"])?;
        #[expect(clippy::cast_precision_loss, reason = "a number for display")]
        for (table, fate, count) in &facts.lines {
            lines.with_label_values(&[table, fate]).set(*count as f64);
        }
        #[expect(clippy::cast_precision_loss, reason = "a number for display")]
        if let Some(customers) = facts.customers {
            let help = "Number of customers in the snapshot of the last build.";
            gauge("build_customers", help, &[])?.with_label_values::<&str>(&[]).set(customers as f64);
        }
        if let Some(is_rejected) = facts.is_rejected {
            let help = "Whether the publish gate held back the snapshot of the last build: 1 or 0.";
            let value = if is_rejected { 1.0 } else { 0.0 };
            gauge("build_rejected", help, &[])?.with_label_values::<&str>(&[]).set(value);
        }
        #[expect(clippy::cast_precision_loss, reason = "a number for display")]
        if let Some(bytes) = facts.staged_bytes {
            let help = "Size of the kept staging in the lake in bytes.";
            gauge("staged_bytes", help, &[])?.with_label_values::<&str>(&[]).set(bytes as f64);
        }
        let mut text = String::new();
        TextEncoder::new().encode_utf8(&registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Name of the metric that a failed run takes over from the file of an earlier run.
const LAST_SUCCESS: &str = "batch_last_success_timestamp_seconds";

/// Replaces the content of `file` at once. The name of the temporary file does not end in `.prom`, so that no
/// collector reads it.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = file.with_file_name(name);
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write the metrics to {}", file.display()))
}
