//! Polling: activates the snapshot that `CURRENT` names, and applies new versions of the erasure list.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Served, Serving};
use crate::{
    snapshot::{Current, Forgotten, Manifest, SnapshotError, read_current},
    telemetry::PollOutcome,
};

/// Outcome of a poll of `CURRENT` and the erasure list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// Neither `CURRENT` nor the erasure list changed.
    Unchanged,
    /// A new snapshot was activated.
    Activated,
    /// A new version of the erasure list was applied to the current snapshot.
    ErasuresApplied,
}

impl Serving {
    /// Polls `CURRENT` and the erasure list, and activates a new snapshot or a new version of the list.
    ///
    /// The previous state is served meanwhile, and after an error. No snapshot is served before the erasure
    /// list was read once.
    ///
    /// # Errors
    /// If `CURRENT`, the erasure list or the manifest cannot be read.
    pub async fn refresh(&self) -> Result<RefreshOutcome, SnapshotError> {
        let refreshed = self.poll_once().await;
        let outcome = match refreshed {
            Ok(RefreshOutcome::Unchanged) => PollOutcome::Unchanged,
            Ok(RefreshOutcome::Activated) => PollOutcome::Swapped,
            Ok(RefreshOutcome::ErasuresApplied) => PollOutcome::Forgot,
            Err(_) => PollOutcome::Error,
        };
        self.metrics.polls.of(outcome).inc();
        refreshed
    }

    async fn poll_once(&self) -> Result<RefreshOutcome, SnapshotError> {
        let erasures = self.apply_erasures().await;
        let current = read_current(&self.lake).await;
        self.lake_answers.store(current.is_ok(), Ordering::Relaxed);
        let (Some(current), Some(forgotten)) = (current?, self.forgotten.load_full()) else {
            return erasures;
        };
        match self.activate(&current, forgotten).await? {
            RefreshOutcome::Unchanged => erasures,
            activated => erasures.map(|_| activated),
        }
    }

    /// Reads the erasure list, and applies a new version of the list to the current snapshot.
    async fn apply_erasures(&self) -> Result<RefreshOutcome, SnapshotError> {
        let known = self.forgotten.load_full();
        let read = match &known {
            Some(known) => known.refreshed(&self.lake).await?,
            None => Some(Forgotten::read(&self.lake).await?),
        };
        let Some(forgotten) = read.map(Arc::new).or(known) else { return Ok(RefreshOutcome::Unchanged) };
        self.forgotten.store(Some(Arc::clone(&forgotten)));
        let Some(served) = self.served.load_full() else { return Ok(RefreshOutcome::Unchanged) };
        if served.has_applied(&forgotten) {
            return Ok(RefreshOutcome::Unchanged);
        }
        if let Some(memory) = &self.memory {
            for id in forgotten.ids().filter(|id| !served.forgets(id.as_str())) {
                memory.remove(&(served.publish, id.clone()));
            }
        }
        let without_erased = Arc::new(served.without(Arc::clone(&forgotten)));
        self.served.store(Some(Arc::clone(&without_erased)));
        tracing::info!(customers = forgotten.len(), "erasure list applied");
        without_erased.prefetch_gaps().await;
        Ok(RefreshOutcome::ErasuresApplied)
    }

    /// Opens the snapshot of `current`, with the erasure list `forgotten` applied, and makes it the served
    /// snapshot. Has no effect if the publish of `current` is already served, or if a newer publish is.
    async fn activate(
        &self,
        current: &Current,
        forgotten: Arc<Forgotten>,
    ) -> Result<RefreshOutcome, SnapshotError> {
        if let Some(served) = self.served.load().as_deref() {
            if served.publish == current.publish && served.manifest.id == current.snapshot {
                return Ok(RefreshOutcome::Unchanged);
            }
            if current.publish < served.publish {
                let (served, found) = (served.publish, current.publish);
                self.throttle.log("older publish", |suppressed| {
                    tracing::warn!(served, found, suppressed, "CURRENT names an older publish; ignored");
                });
                return Ok(RefreshOutcome::Unchanged);
            }
        }
        let mut manifest = Manifest::read(&self.lake, &current.snapshot).await?;
        self.check_declared(&manifest).await?;
        manifest.declare_personal(&self.personal);
        let opened =
            Served::open(self.files(&Arc::new(manifest)), Some(current), self.blocks.clone(), &self.sets);
        opened.reader.warm_up().await;
        let served = opened.without(forgotten);
        served.prefetch_gaps().await;
        tracing::info!(publish = current.publish, snapshot = %current.snapshot, "snapshot activated");
        self.metrics.build_seconds.reset();
        for stage in &served.manifest.stages {
            self.metrics.build_seconds.with_label_values(&[&stage.name]).set(stage.seconds);
        }
        if let Some(online) = &self.online {
            online.set_lake(current.lake.as_ref());
        }
        self.served.store(Some(Arc::new(served)));
        if let Some(memory) = &self.memory {
            memory.remove_where(|(publish, _)| *publish < current.publish);
        }
        Ok(RefreshOutcome::Activated)
    }

    /// Reads once which publish Tair holds. [`Serving::poll`] does so repeatedly.
    pub async fn ask_tair(&self) {
        if let Some(online) = &self.online {
            online.refresh().await;
        }
    }

    /// Polls `CURRENT` and the erasure list every `period`, and Tair more often. Never returns.
    pub async fn poll(&self, period: Duration) {
        let lake = async { tokio::join!(self.poll_lake(period), Box::pin(self.watch_builds(period))) };
        match &self.online {
            Some(online) => drop(tokio::join!(lake, Box::pin(online.poll()))),
            None => drop(lake.await),
        }
    }

    async fn poll_lake(&self, period: Duration) {
        let mut failing = false;
        loop {
            tokio::time::sleep(period).await;
            match self.refresh().await {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(
                        %error,
                        source,
                        "cannot read CURRENT or the erasure list; serving the last known state"
                    );
                }
                Err(_) => {}
            }
        }
    }
}
