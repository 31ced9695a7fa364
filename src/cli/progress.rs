//! Progress bars on standard error, shown only if it is a terminal.

use std::{
    convert::Infallible,
    io::{IsTerminal, stderr},
    sync::atomic::Ordering,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::terminal;
use crate::telemetry::Progress;

/// Runs `work` and shows its `progress` meanwhile.
pub(super) async fn watch<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    tokio::select! {
        result = work => result,
        never = show(progress) => match never {},
    }
}

/// Draws `progress` until the future is dropped.
async fn show(progress: &Progress) -> Infallible {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
    let known = ProgressStyle::with_template("{spinner} {msg:<24} {bar:32} {percent:>3} %  {elapsed}");
    let unknown = ProgressStyle::with_template("{spinner} {msg:<24} {elapsed}");
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let total = progress.total.load(Ordering::Relaxed);
        if let Ok(style) = if total > 0 { &known } else { &unknown } {
            bar.set_style(style.clone());
        }
        bar.set_length(total.max(1));
        bar.set_position(progress.done.load(Ordering::Relaxed).min(total));
        bar.set_message(terminal::plain_line(&progress.stage()));
        bar.tick();
    }
}
