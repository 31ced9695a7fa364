//! `larder build --explain`: the stages of a build, and the plans of its views.

use indicatif::{HumanBytes, HumanCount};

use crate::{
    cli::table,
    pipeline::{Built, ViewPlan},
    snapshot::Stage,
};

/// Prints the stages and the plans.
pub(super) fn print(built: &Built) -> anyhow::Result<()> {
    table::line("")?;
    stages(&built.manifest.stages)?;
    for ViewPlan { view, plan } in &built.plans {
        table::line(&format!("\nview {view}:\n{}", plan.trim_end()))?;
    }
    Ok(())
}

/// Prints a row for each stage, and one for all of them.
fn stages(stages: &[Stage]) -> std::io::Result<()> {
    let total = Stage {
        name: "all stages".to_owned(),
        seconds: stages.iter().map(|stage| stage.seconds).sum(),
        rows: None,
        written_bytes: stages.iter().map(|stage| stage.written_bytes).sum(),
        peak_memory_bytes: stages.iter().filter_map(|stage| stage.peak_memory_bytes).max(),
    };
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| HumanBytes(bytes).to_string()).unwrap_or_default();
    let row = |stage: &Stage| {
        vec![
            stage.name.clone(),
            format!("{:.2}", stage.seconds),
            format!("{:.1}", stage.seconds / total.seconds.max(f64::MIN_POSITIVE) * 100.0),
            stage.rows.map(|rows| HumanCount(rows).to_string()).unwrap_or_default(),
            bytes(stage.written_bytes),
            bytes(stage.peak_memory_bytes),
        ]
    };
    let rows: Vec<Vec<String>> = stages.iter().chain([&total]).map(row).collect();
    table::print(&["stage", "seconds", "share %", "rows", "written", "peak memory"], &rows)
}
