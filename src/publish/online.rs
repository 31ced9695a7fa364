//! The phases of a publish into Tair: lease, plan, rows, index, activation, cleanup.
//!
//! A publish in progress is recorded in Tair before the first row is written, so that a publish that died can
//! be detected and repeated.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    PublishError, Published, Publisher, WriteSummary, index,
    publish_state::{Base, PublishState},
    reusable_index::ReusableIndex,
    rows,
    sender::Sender,
    stage,
    target::Target,
};
use crate::{
    snapshot::{Current, Forgotten, Manifest, publish_to_lake, rfc3339, token},
    tair::{
        Lease, Writer,
        codec::{self, Marker, Publishing},
    },
};

/// Interval at which a publish records its progress in Tair.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Publish into Tair that holds the lease.
struct OnlinePublish<'a> {
    publisher: &'a Publisher,
    writer: &'a Arc<Writer>,
    lease: &'a Arc<Lease>,
    state: PublishState,
}

/// Decisions of a publish before it writes anything.
struct PublishPlan {
    marker: Marker,
    lake_name: String,
    base: Base,
    /// Record that the publish is in progress.
    publishing: Publishing,
}

impl Publisher {
    /// Publishes `manifest` into Tair and the lake. `current` is the content of `CURRENT`.
    pub(super) async fn publish_online(
        &self,
        writer: &Arc<Writer>,
        manifest: Arc<Manifest>,
        current: Option<Current>,
    ) -> Result<Published, PublishError> {
        self.progress.enter("wait for the lease", 0);
        let lease = Arc::new(stage("publish: lease", writer.lease(token()?)).await?);
        tracing::debug!("lease acquired");
        let published = self.publish_under_lease(writer, &lease, &manifest, current).await;
        if let Some(lease) = Arc::into_inner(lease) {
            lease.release().await;
        }
        published
    }

    async fn publish_under_lease(
        &self,
        writer: &Arc<Writer>,
        lease: &Arc<Lease>,
        manifest: &Arc<Manifest>,
        current: Option<Current>,
    ) -> Result<Published, PublishError> {
        let forgotten = Forgotten::read(&self.lake).await?;
        let state = PublishState::read(writer, current).await?;
        let lake_name = state.lake_name(&self.lake, self.options.full).await?;
        if let Some(current) = state.published(manifest)
            && !self.options.full
        {
            self.purge_newly_erased(writer, lease, &forgotten).await?;
            let written = WriteSummary { unchanged: manifest.customers, ..WriteSummary::default() };
            return Ok(Published { current: current.clone(), written: Some(written) });
        }
        let publish = OnlinePublish { publisher: self, writer, lease, state };
        let plan = stage("publish: plan", publish.plan(manifest, lake_name)).await?;
        lease.check()?;
        let target = Target {
            lake: &self.lake,
            manifest,
            forgotten: &forgotten,
            number: plan.marker.publish,
            writer,
            progress: &self.progress,
        };
        let published = publish.run(target, plan).await;
        if published.is_err() {
            publish.release_record().await;
        }
        published
    }
}

impl OnlinePublish<'_> {
    /// Chooses the publish number and the rows to compare with. If the previous publisher did not give the
    /// lease back, waits until a paused process must have noticed that its lease is lost.
    async fn plan(&self, manifest: &Manifest, lake_name: String) -> Result<PublishPlan, PublishError> {
        let (publisher, state) = (self.publisher, &self.state);
        let takes_over = state.publishing.as_ref().is_some_and(|publishing| !publishing.released);
        if takes_over {
            publisher.progress.enter("wait for the previous publisher", 0);
            tokio::time::sleep(self.lease.length()).await;
        }
        let mut base = state.base(&publisher.lake, manifest, publisher.options.full).await?;
        if takes_over {
            base = Base::Unknown("the previous publisher did not finish");
        }
        let marker = Marker {
            publish: state.next_number(),
            snapshot: manifest.id.to_string(),
            as_of: rfc3339::format(manifest.as_of),
            lake: Some(lake_name.clone()),
        };
        let from = match &base {
            Base::Known(_) => state.marker.as_ref().map(|marker| marker.snapshot.clone()),
            Base::Unknown(_) => None,
        };
        let publishing = Publishing {
            marker: marker.clone(),
            from,
            unfinished: state.unfinished(),
            released: false,
            done: 0,
            customers: manifest.customers,
        };
        Ok(PublishPlan { marker, lake_name, base, publishing })
    }

    /// Carries out the plan, from the record of the publish to the cleanup.
    async fn run(&self, target: Target<'_>, plan: PublishPlan) -> Result<Published, PublishError> {
        self.writer.set_publishing(&plan.publishing).await?;
        let mut sender = self.sender();
        let mut written = stage("publish: rows", self.write_rows(target, &plan, &mut sender)).await?;
        let indexing = async {
            let reusable = ReusableIndex::find(target, &plan.base, &self.state).await?;
            index::publish(target, reusable, &mut sender).await
        };
        written.members = stage("publish: lists", indexing).await?;
        let current = stage("publish: activate", self.activate(target, plan)).await?;
        stage("publish: clean up", self.clean_up(target)).await?;
        Ok(Published { current, written: Some(written) })
    }

    fn sender(&self) -> Sender {
        Sender::new(self.writer, self.lease, self.publisher.options.max_ops)
    }

    /// Writes the rows and records the progress in Tair meanwhile.
    async fn write_rows(
        &self,
        target: Target<'_>,
        plan: &PublishPlan,
        sender: &mut Sender,
    ) -> Result<WriteSummary, PublishError> {
        let ended = Notify::new();
        let writing = async {
            let written = rows::publish(target, &plan.base, sender).await;
            ended.notify_one();
            written
        };
        let recording = self.record_progress(plan.publishing.clone(), &ended);
        let (written, ()) = tokio::join!(writing, recording);
        let summary = written?;
        sender.settle().await?;
        Ok(summary)
    }

    /// Records in Tair how many rows are done until `ended` is notified. Readers export the figure as a
    /// metric.
    async fn record_progress(&self, mut publishing: Publishing, ended: &Notify) {
        while tokio::time::timeout(PROGRESS_INTERVAL, ended.notified()).await.is_err() {
            publishing.done = self.publisher.progress.done.load(Ordering::Relaxed);
            if self.lease.check().is_err() {
                return;
            }
            // Failures are ignored: the record is informational.
            let _ = self.writer.set_publishing(&publishing).await;
        }
    }

    /// Makes the publish the one that readers get: in Tair, then in `CURRENT`.
    async fn activate(&self, target: Target<'_>, plan: PublishPlan) -> Result<Current, PublishError> {
        let Target { lake, manifest, number, progress, .. } = target;
        progress.enter("activate", 0);
        self.lease.check()?;
        let views: Vec<(String, String)> =
            manifest.views.iter().map(|view| (view.name.clone(), codec::columns(view))).collect();
        self.writer.set_views(&views).await?;
        self.writer.activate(self.lease, &plan.marker).await?;
        let current = publish_to_lake(lake, manifest, Some((number, plan.lake_name)), true)
            .await
            .map_err(|source| PublishError::HalfWay { number, source })?;
        self.writer.clear_publishing().await?;
        Ok(current)
    }

    /// Removes old indexes, leaves a spare one, and removes customers erased meanwhile.
    async fn clean_up(&self, target: Target<'_>) -> Result<(), PublishError> {
        target.progress.enter("clean up", 0);
        let mut sender = self.sender();
        let previous = self.state.marker.iter().map(|previous| previous.publish);
        let kept: Vec<u64> = previous.chain([target.number]).collect();
        index::remove_others(self.writer, &mut sender, &kept).await?;
        sender.settle().await?;
        if let Err(error) = index::prepare_spare(target, &mut sender).await {
            // Readers have everything; only the next publish takes longer.
            tracing::warn!(%error, "cannot prepare a spare index; the next publish will take longer");
        }
        self.publisher.purge_newly_erased(self.writer, self.lease, target.forgotten).await
    }

    /// Marks the record of a failed publish as released, so that the next publisher need not wait.
    async fn release_record(&self) {
        if self.lease.check().is_err() {
            return;
        }
        if let Ok(Some(publishing)) = self.writer.publishing().await {
            let _ = self.writer.set_publishing(&Publishing { released: true, ..publishing }).await;
        }
    }
}
