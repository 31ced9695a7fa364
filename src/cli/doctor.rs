//! `larder doctor`: checks the configuration and everything that Larder depends on.

use anyhow::bail;
use serde::Serialize;

use super::{Setup, table, terminal};
use crate::{
    config::without_passwords,
    lake::Lake,
    snapshot::{Current, Manifest},
};

mod disk;
mod keys;
mod lake;
mod memory;
mod online;
#[cfg(feature = "build")]
mod raw;
mod snapshot;

/// Check the configuration, the lake, the raw files, Tair, the current snapshot, keys, disk and memory
///
/// Prints one line a check: ok, warning or failed, and what to do. Writes and removes one object under
/// `doctor/` in the lake, and one key in Tair. Exits with 0 if nothing failed, else with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder doctor --json")]
pub(super) struct Args {
    /// Print JSON: a list of checks, each with grade, message and advice
    #[arg(long)]
    json: bool,
}

/// Grade of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Failed,
}

impl Grade {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// Result of a check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    grade: Grade,
    message: String,
    /// Steps to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl Finding {
    fn new(check: &'static str, grade: Grade, message: &str, advice: Option<&'static str>) -> Self {
        Self { check, grade, message: without_passwords(message), advice }
    }

    fn ok(check: &'static str, message: &str) -> Self {
        Self::new(check, Grade::Ok, message, None)
    }

    fn warning(check: &'static str, message: &str, advice: &'static str) -> Self {
        Self::new(check, Grade::Warning, message, Some(advice))
    }

    fn failed(check: &'static str, message: &str, advice: &'static str) -> Self {
        Self::new(check, Grade::Failed, message, Some(advice))
    }

    fn line(&self) -> String {
        let advice = self.advice.map_or(String::new(), |advice| format!("; {advice}"));
        let text = format!("{:<8} {}: {}{advice}", self.grade.as_str(), self.check, self.message);
        terminal::plain_line(&text)
    }
}

/// The configuration, and the state that earlier checks have found.
struct Examined<'a> {
    setup: &'a Setup,
    /// The lake, if it can be opened.
    lake: Option<Lake>,
    /// The content of `CURRENT`, if it can be read.
    current: Option<Current>,
    /// Manifest of the current snapshot, if the snapshot can be opened.
    manifest: Option<Manifest>,
}

pub(super) async fn run(args: &Args, setup: &Setup) -> anyhow::Result<()> {
    let mut examined = Examined { setup, lake: None, current: None, manifest: None };
    let mut findings = vec![configuration(setup)];
    findings.extend(keys::check(&examined));
    findings.extend(lake::check(&mut examined).await);
    #[cfg(feature = "build")]
    findings.extend(Box::pin(raw::check(&examined)).await);
    findings.extend(Box::pin(snapshot::check(&mut examined)).await);
    findings.extend(Box::pin(online::check(&examined)).await);
    findings.extend(disk::check(&examined));
    findings.extend(memory::check(&examined));
    report(args, &findings)
}

/// Reports that the configuration cannot be loaded.
pub(super) fn report_unusable(args: &Args, error: &anyhow::Error) -> anyhow::Result<()> {
    let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    report(args, &[Finding::failed("configuration", &message, "correct the configuration")])
}

/// Prints the findings, and fails if a check failed.
fn report(args: &Args, findings: &[Finding]) -> anyhow::Result<()> {
    if args.json {
        table::line(&serde_json::to_string_pretty(findings)?)?;
    } else {
        for finding in findings {
            table::line(&finding.line())?;
        }
    }
    match findings.iter().filter(|finding| finding.grade == Grade::Failed).count() {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

/// Names the files of the configuration, which was loaded.
fn configuration(setup: &Setup) -> Finding {
    let files = &setup.config.files;
    let files: Vec<String> =
        files.main.iter().chain(&files.others).map(|file| file.display().to_string()).collect();
    let from =
        if files.is_empty() { "no file, only defaults and variables".to_owned() } else { files.join(", ") };
    Finding::ok("configuration", &from)
}
