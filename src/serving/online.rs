//! Tair as a tier: decides whether Tair may be read, and which snapshot its rows belong to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use chrono::DateTime;

use super::{Label, Served, breaker::Breaker, gauge, number, timestamp};
use crate::{
    config::TairConfig,
    feature::{CustomerId, Row},
    snapshot::rfc3339,
    tair::{
        Connections, Tair, TairError,
        codec::{Marker, Publishing, StoredRow},
    },
    telemetry::{FallbackReason, LogThrottle, Metrics},
};

/// Interval between polls of the markers in Tair.
const POLL: Duration = Duration::from_millis(250);
/// Number of failed polls in a row after which a warning is logged.
const FAILED_POLLS_LOGGED: u32 = 4;

/// The Tair tier.
#[derive(Debug)]
pub(super) struct Online {
    tair: Arc<Tair>,
    markers: ArcSwapOption<KnownMarkers>,
    /// Name of the served lake, from its `CURRENT`.
    lake: ArcSwapOption<String>,
    breaker: Breaker,
    /// Number of failed polls in a row.
    failures: AtomicU32,
    throttle: LogThrottle,
    metrics: Arc<Metrics>,
}

/// Markers read from Tair by the last successful poll.
#[derive(Debug)]
struct KnownMarkers {
    /// Number of lost connections before the poll. After a reconnect the markers are not trusted: the
    /// connection may lead to another server.
    losses: u64,
    marker: Option<Marker>,
    publishing: Option<Publishing>,
    /// Whether the marker names another lake than the served one.
    is_foreign: bool,
}

/// Result of reading one customer from Tair.
#[derive(Debug)]
pub(super) enum TairRead {
    /// Row of the served publish, or of the publish under way with the label of its snapshot.
    Row(Arc<Row>, Option<Label>),
    /// No usable row, with the reason as in the metric `larder_tair_fallbacks_total`.
    Unusable(FallbackReason),
}

/// State of Tair for `/readyz` and metrics.
#[derive(Debug, Clone)]
pub struct OnlineState {
    /// Clients and connections.
    pub connections: Connections,
    /// Publish that Tair holds.
    pub marker: Option<Marker>,
    /// Publish into Tair that is running or has failed.
    pub publishing: Option<Publishing>,
    /// Whether reads are sent to Tair.
    pub used: bool,
    /// Whether the circuit breaker is open.
    pub breaker_open: bool,
}

impl Online {
    pub(super) fn new(tair: Arc<Tair>, config: &TairConfig, metrics: Arc<Metrics>) -> Self {
        let breaker = Breaker::new(config.breaker_failures, config.breaker_pause);
        Self {
            tair,
            markers: ArcSwapOption::empty(),
            lake: ArcSwapOption::empty(),
            breaker,
            failures: AtomicU32::new(0),
            throttle: LogThrottle::default(),
            metrics,
        }
    }

    /// Reads the markers from Tair.
    pub(super) async fn refresh(&self) {
        let losses = self.tair.losses();
        match Box::pin(self.tair.markers()).await {
            Ok((marker, publishing)) => {
                self.breaker.succeeded();
                if self.failures.swap(0, Ordering::Relaxed) >= FAILED_POLLS_LOGGED {
                    tracing::info!(server = self.tair.server(), "Tair is reachable again");
                }
                self.store_markers(losses, marker, publishing);
            }
            Err(error @ (TairError::Timeout | TairError::Unreachable(_))) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILED_POLLS_LOGGED {
                    let server = self.tair.server();
                    self.throttle.log(&error.to_string(), |suppressed| {
                        tracing::warn!(
                            server,
                            %error,
                            suppressed,
                            "Tair is unreachable; reads fall back to the snapshot"
                        );
                    });
                }
            }
            Err(error) => {
                self.throttle.log(&error.to_string(), |suppressed| {
                    tracing::warn!(%error, suppressed, "cannot read the publish markers in Tair");
                });
                self.markers.store(None);
            }
        }
    }

    /// Sets the name of the served lake, and checks the known markers against the name.
    pub(super) fn set_lake(&self, lake: Option<&String>) {
        let known = self.lake.load_full();
        if known.as_deref() != lake {
            self.lake.store(lake.cloned().map(Arc::new));
            if let Some(markers) = self.markers.load_full() {
                self.store_markers(markers.losses, markers.marker.clone(), markers.publishing.clone());
            }
        }
    }

    /// Stores the markers read from Tair, without publishes of other lakes.
    fn store_markers(&self, losses: u64, marker: Option<Marker>, publishing: Option<Publishing>) {
        let served_lake = self.lake.load();
        // Markers without a lake name are accepted. If the served lake has no name yet, it was never
        // published under a name, so markers with a name belong to another lake.
        let is_of_other_lake =
            |marker: &Marker| marker.lake.as_ref().is_some_and(|lake| served_lake.as_deref() != Some(lake));
        let own_publishing = match publishing {
            Some(mut publishing) if !is_of_other_lake(&publishing.marker) => {
                publishing.unfinished.retain(|marker| !is_of_other_lake(marker));
                Some(publishing)
            }
            _ => None,
        };
        let is_foreign = marker.as_ref().is_some_and(is_of_other_lake);
        let was_foreign = self.markers.load().as_deref().is_some_and(|before| before.is_foreign);
        if let Some(marker) = &marker
            && is_foreign
            && !was_foreign
        {
            tracing::error!(
                publish = marker.publish,
                snapshot = %marker.snapshot,
                "Tair holds the customers of another lake; reads fall back to the snapshot"
            );
        }
        let markers = KnownMarkers { losses, marker, publishing: own_publishing, is_foreign };
        self.markers.store(Some(Arc::new(markers)));
    }

    /// Polls the markers in Tair and watches the connections. Never returns.
    pub(super) async fn poll(&self) {
        let refreshing = async {
            loop {
                self.refresh().await;
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::join!(refreshing, Box::pin(self.tair.watch()));
    }

    /// Returns why reads for the publish `publish` must not use Tair, or `None` if they may. Does not ask
    /// the circuit breaker.
    fn reason_not_to_use(&self, publish: u64) -> Option<FallbackReason> {
        let markers = self.markers.load();
        match markers.as_deref() {
            None if self.is_disconnected() => Some(FallbackReason::Unreachable),
            None => Some(FallbackReason::Unknown),
            Some(markers) if markers.is_foreign => Some(FallbackReason::Foreign),
            Some(markers) if markers.losses != self.tair.losses() => Some(if self.is_disconnected() {
                FallbackReason::Unreachable
            } else {
                FallbackReason::Reconnected
            }),
            Some(KnownMarkers { marker: Some(marker), .. }) if marker.publish >= publish => None,
            Some(_) => Some(FallbackReason::Behind),
        }
    }

    fn is_disconnected(&self) -> bool {
        self.tair.connections().connected == 0
    }

    /// Checks whether a call for the publish `publish` may be sent to Tair.
    ///
    /// # Errors
    /// The reason why not.
    fn admit(&self, publish: u64) -> Result<(), FallbackReason> {
        match self.reason_not_to_use(publish) {
            Some(reason) => Err(reason),
            None if self.breaker.allows(Instant::now) => Ok(()),
            None => Err(FallbackReason::Breaker),
        }
    }

    /// Returns the snapshot that rows of the publish `number` belong to, if the markers name the publish.
    fn label(&self, number: u64) -> Option<Label> {
        let guard = self.markers.load();
        let markers = guard.as_deref()?;
        let publishing = markers.publishing.iter().flat_map(|p| p.unfinished.iter().chain([&p.marker]));
        let marker = publishing.chain(&markers.marker).find(|marker| marker.publish == number)?;
        Some(Label { snapshot: marker.snapshot.as_str().into(), as_of: marker.as_of.as_str().into() })
    }

    /// Converts a stored row to the result of a read for `served`. Day counts are derived with the as-of time
    /// of the snapshot that the row belongs to.
    fn read_of_row(&self, served: &Served, id: &CustomerId, stored: Option<StoredRow>) -> TairRead {
        let Some(stored) = stored else { return TairRead::Unusable(FallbackReason::Miss) };
        let (label, as_of) = if stored.publish <= served.publish {
            (None, served.manifest.as_of)
        } else {
            let label = self.label(stored.publish);
            match label.as_ref().and_then(|label| rfc3339::instant(&label.as_of)) {
                Some(as_of) => (label, as_of),
                None => return TairRead::Unusable(FallbackReason::Ahead),
            }
        };
        match served.reader.day_counts().derive(stored.views, as_of.timestamp_micros()) {
            Some(views) => TairRead::Row(Arc::new(Row::new(id.clone(), views)), label),
            None => TairRead::Unusable(FallbackReason::Content),
        }
    }

    /// Reports the outcome of a call to the circuit breaker. A call succeeded if at least one of its
    /// `replies` did.
    fn record_outcome<'a, T: 'a>(&self, replies: impl IntoIterator<Item = &'a Result<T, TairError>>) {
        let mut failed = None;
        for reply in replies {
            match reply {
                // A key of the wrong type does not mean that the server is in trouble.
                Err(error) if !error.is_wrong_type() => failed = Some(error),
                _ => return self.breaker.succeeded(),
            }
        }
        if let Some(error) = failed {
            self.breaker.failed(Instant::now());
            tracing::debug!(%error, "read from Tair failed");
        }
    }

    /// Reads one customer for `served`.
    pub(super) async fn row(&self, served: &Served, id: &CustomerId) -> TairRead {
        let publish = served.publish;
        if let Err(reason) = self.admit(publish) {
            return TairRead::Unusable(reason);
        }
        let call = CallInFlight::new(&self.breaker);
        let reply = self.tair.row(id.as_str(), &served.fields).await;
        call.completed();
        self.record_outcome([&reply]);
        match reply {
            // Checked again: after a reconnect during the call, the row may be from an older publish.
            Ok(stored) => self
                .reason_not_to_use(publish)
                .map_or_else(|| self.read_of_row(served, id, stored), TairRead::Unusable),
            Err(error) => TairRead::Unusable(error.reason()),
        }
    }

    /// Reads several customers for `served`. Results are in the order of `ids`.
    pub(super) async fn rows(&self, served: &Served, ids: &[&CustomerId]) -> Vec<TairRead> {
        let publish = served.publish;
        if let Err(reason) = self.admit(publish) {
            return ids.iter().map(|_| TairRead::Unusable(reason)).collect();
        }
        let call = CallInFlight::new(&self.breaker);
        let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let replies = self.tair.rows(&names, &served.fields).await;
        call.completed();
        self.record_outcome(&replies);
        let unusable = self.reason_not_to_use(publish);
        let reads = ids.iter().zip(replies).map(|(id, reply)| match (reply, unusable) {
            (Ok(stored), None) => self.read_of_row(served, id, stored),
            (Ok(_), Some(reason)) => TairRead::Unusable(reason),
            (Err(error), _) => TairRead::Unusable(error.reason()),
        });
        reads.collect()
    }

    /// Reads `limit` members of a segment from rank `offset` on, as the publish `publish` ranked them.
    /// `None` stands for an erased customer.
    ///
    /// # Errors
    /// The reason why Tair cannot answer, also if Tair has fewer members.
    pub(super) async fn members(
        &self,
        publish: u64,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<Option<CustomerId>>, FallbackReason> {
        self.admit(publish)?;
        let call = CallInFlight::new(&self.breaker);
        let reply = self.tair.members(publish, segment, offset, limit).await;
        call.completed();
        self.record_outcome([&reply]);
        let members = reply.map_err(|error| error.reason())?;
        if let Some(reason) = self.reason_not_to_use(publish) {
            return Err(reason);
        }
        if members.len() != limit {
            return Err(FallbackReason::Miss);
        }
        let parse = |id: &String| CustomerId::parse(id).map(Some).map_err(|_| FallbackReason::Content);
        members.iter().map(|id| if id.is_empty() { Ok(None) } else { parse(id) }).collect()
    }

    /// Returns the state of Tair for reads of the publish `publish`.
    pub(super) fn state(&self, publish: u64) -> OnlineState {
        let guard = self.markers.load();
        let markers = guard.as_deref();
        let breaker_open = self.breaker.is_open();
        OnlineState {
            connections: self.tair.connections(),
            marker: markers.and_then(|known| if known.is_foreign { None } else { known.marker.clone() }),
            publishing: markers.and_then(|known| known.publishing.clone()),
            used: self.reason_not_to_use(publish).is_none() && !breaker_open,
            breaker_open,
        }
    }

    /// Updates the gauges of Tair, for reads of the publish `publish`.
    pub(super) fn observe(&self, publish: u64) {
        let (state, metrics) = (self.state(publish), &self.metrics);
        let connected = state.connections.connected;
        let broken = state.connections.all - connected;
        metrics.tair_connections.with_label_values(&["connected"]).set(gauge(connected as u64));
        metrics.tair_connections.with_label_values(&["broken"]).set(gauge(broken as u64));
        let flag = |is_set: bool| Some(if is_set { 1.0 } else { 0.0 });
        metrics.tair_used.set(flag(state.used));
        metrics.tair_breaker_open.set(flag(state.breaker_open));
        metrics.tair_publish.set(state.marker.as_ref().map(|marker| number(marker.publish)));
        let as_of = state.marker.and_then(|marker| DateTime::parse_from_rfc3339(&marker.as_of).ok());
        metrics.tair_as_of.set(as_of.map(|as_of| timestamp(as_of.to_utc())));
        let publishing = state.publishing.as_ref();
        metrics.tair_publishing.set(Some(publishing.map_or(0.0, |found| number(found.marker.publish))));
        metrics.tair_publishing_failed.set(flag(publishing.is_some_and(|found| found.released)));
        let share = |found: &Publishing| number(found.done) / number(found.customers.max(1));
        metrics.tair_publishing_ratio.set(Some(publishing.map_or(0.0, share)));
    }

    /// Counts a read that Tair could not answer, by reason.
    pub(super) fn count_fallback(&self, reason: FallbackReason) {
        self.metrics.fallbacks.of(reason).inc();
    }
}

/// Call to Tair that is in flight. A call that is dropped before it completes counts as failed, so that a
/// half-open circuit breaker does not wait for its trial call forever.
struct CallInFlight<'a> {
    breaker: &'a Breaker,
    is_complete: bool,
}

impl<'a> CallInFlight<'a> {
    fn new(breaker: &'a Breaker) -> Self {
        Self { breaker, is_complete: false }
    }

    fn completed(mut self) {
        self.is_complete = true;
    }
}

impl Drop for CallInFlight<'_> {
    fn drop(&mut self) {
        if !self.is_complete && self.breaker.is_open() {
            self.breaker.failed(Instant::now());
        }
    }
}
