//! A publish into Tair, step by step: lease, record, rows, lists, flip, `CURRENT`, and tidying up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    PublishError, Published, Publisher,
    index::{self, Source},
    plan::{Base, Found},
    rows,
    sender::Sender,
};
use crate::{
    snapshot::{Current, Forgotten, Manifest, publish_to_lake, rfc3339, token},
    tair::{
        Lease, Writer,
        codec::{self, Marker, Publishing},
    },
};

/// How often a publish notes how far it is.
const NOTED: Duration = Duration::from_secs(2);

/// What a publish wrote into Tair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Customers written.
    pub rows: u64,
    /// Customers that are as they were.
    pub unchanged: u64,
    /// Customers removed.
    pub removed: u64,
    /// Customers left out since they are forgotten.
    pub forgotten: u64,
    /// Members of all segments.
    pub members: u64,
    /// Why everything was written, where it was.
    pub everything: Option<&'static str>,
}

impl Publisher {
    /// Publishes `manifest` into Tair and the lake, `before` being what `CURRENT` says.
    pub(super) async fn online(
        &self,
        writer: &Arc<Writer>,
        manifest: Arc<Manifest>,
        before: Option<Current>,
    ) -> Result<Published, PublishError> {
        self.progress.enter("wait for the lease", 0);
        let lease = Arc::new(writer.lease(token()?).await?);
        let mut begun = false;
        let published = self.under_lease(writer, &lease, &manifest, before, &mut begun).await;
        if published.is_err() && begun && lease.check().is_ok() {
            // Nobody needs to wait for a publisher that gave up.
            if let Ok(Some(left)) = writer.publishing().await {
                let _ = writer.set_publishing(&Publishing { released: true, ..left }).await;
            }
        }
        if let Some(lease) = Arc::into_inner(lease) {
            lease.release().await;
        }
        published
    }

    async fn under_lease(
        &self,
        writer: &Arc<Writer>,
        lease: &Arc<Lease>,
        manifest: &Arc<Manifest>,
        current: Option<Current>,
        begun: &mut bool,
    ) -> Result<Published, PublishError> {
        let forgotten = Forgotten::read(&self.lake).await?;
        let indexed = writer.indexes().await?.into_keys().max().unwrap_or(0);
        let (marker, publishing) = (writer.marker().await?, writer.publishing().await?);
        let found = Found { current, marker, publishing, indexed };
        let lake_name = found.lake_name(&self.lake, self.options.full).await?;
        if let Some(current) =
            found.current.as_ref().filter(|_| found.is_done(manifest) && !self.options.full)
        {
            self.catch_up(writer, lease, &forgotten).await?;
            let written = Written { unchanged: manifest.customers, ..Written::default() };
            return Ok(Published { current: current.clone(), written: Some(written) });
        }
        // Whoever held the lease before did not give it back, and may only have been stopped.
        let takes_over = found.publishing.as_ref().is_some_and(|publishing| !publishing.released);
        if takes_over {
            self.progress.enter("wait for the publisher before", 0);
            tokio::time::sleep(lease.length()).await;
        }
        let mut base = found.base(&self.lake, manifest, self.options.full).await?;
        if takes_over {
            base = Base::Unknown("a publisher before did not end");
        }
        let number = found.number();
        let marker = Marker {
            publish: number,
            snapshot: manifest.id.to_string(),
            as_of: rfc3339::format(manifest.as_of),
            lake: Some(lake_name.clone()),
        };
        let from = match &base {
            Base::Known(_) => found.marker.as_ref().map(|marker| marker.snapshot.clone()),
            Base::Unknown(_) => None,
        };
        let publishing = Publishing {
            marker: marker.clone(),
            from,
            unfinished: found.unfinished(),
            released: false,
            done: 0,
            customers: manifest.customers,
        };
        lease.check()?;
        *begun = true;
        writer.set_publishing(&publishing).await?;
        let mut sender = Sender::new(writer, lease, self.options.max_ops);
        let ended = Notify::new();
        let writing = async {
            let written = rows::publish(
                &self.lake,
                (manifest, &forgotten),
                &base,
                writer,
                &mut sender,
                number,
                &self.progress,
            )
            .await;
            ended.notify_one();
            written
        };
        let (written, ()) = tokio::join!(writing, self.note_progress(writer, lease, publishing, &ended));
        let mut written = written?;
        sender.settle().await?;
        let source = Source::find(&self.lake, writer, &base, &found, &forgotten).await?;
        written.members = index::publish(
            (&self.lake, manifest, &forgotten),
            writer,
            &mut sender,
            number,
            source,
            &self.progress,
        )
        .await?;
        self.progress.enter("change over", 0);
        lease.check()?;
        let views: Vec<(String, String)> =
            manifest.views.iter().map(|view| (view.name.clone(), codec::columns(view))).collect();
        writer.set_views(&views).await?;
        writer.flip(lease, &marker).await?;
        let current = publish_to_lake(&self.lake, manifest, Some((number, lake_name)), true).await;
        let current = current.map_err(|source| PublishError::HalfWay { number, source })?;
        writer.clear_publishing().await?;
        self.progress.enter("tidy up", 0);
        let mut sender = Sender::new(writer, lease, self.options.max_ops);
        let kept: Vec<u64> = found.marker.iter().map(|previous| previous.publish).chain([number]).collect();
        index::remove_others(writer, &mut sender, &kept).await?;
        sender.settle().await?;
        let copied = (&self.lake, manifest, &forgotten);
        if let Err(error) = index::spare(copied, writer, &mut sender, number, &self.progress).await {
            // Readers have everything; the next publish will take longer.
            tracing::warn!(%error, "no spare lists were left for the next publish");
        }
        self.catch_up(writer, lease, &forgotten).await?;
        Ok(Published { current, written: Some(written) })
    }

    /// Notes in Tair how far the rows are, until they have `ended`; readers show it in their metrics.
    async fn note_progress(
        &self,
        writer: &Writer,
        lease: &Lease,
        mut publishing: Publishing,
        ended: &Notify,
    ) {
        while tokio::time::timeout(NOTED, ended.notified()).await.is_err() {
            publishing.done = self.progress.done.load(Ordering::Relaxed);
            if lease.check().is_err() {
                return;
            }
            // It is for people only.
            let _ = writer.set_publishing(&publishing).await;
        }
    }
}
