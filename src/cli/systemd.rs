//! Messages to systemd, for units with `Type=notify`. Without systemd nothing is sent.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;

use crate::http::App;

/// Interval between checks whether the service is ready.
const INTERVAL: Duration = Duration::from_millis(200);
/// Number of checks between two requests for more time to start.
const CHECKS: u32 = 50;
/// Additional time to start in microseconds, which is asked for while there is no snapshot.
const MORE_TIME: u32 = 60_000_000;

/// Waits until the service is ready, and reports so. Until the first publish, asks for more time to start.
pub(super) async fn report_ready(app: Arc<App>) {
    let mut checks = 0;
    while !app.is_ready() {
        if checks % CHECKS == 0 {
            tell(&[
                NotifyState::ExtendTimeoutUsec(MORE_TIME),
                NotifyState::Status("waiting for a snapshot that can be served"),
            ]);
        }
        checks += 1;
        tokio::time::sleep(INTERVAL).await;
    }
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Reports that the service shuts down.
pub(super) fn report_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
