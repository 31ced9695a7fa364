//! The tier of Tair: whether it may be believed at the moment, and what its rows are rows of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use chrono::DateTime;

use super::{Label, breaker::Breaker, gauge, seconds_since};
use crate::{
    config::TairConfig,
    feature::{CustomerId, Row},
    tair::{
        Connections, Fields, Tair, TairError,
        codec::{Marker, Publishing, StoredRow},
    },
    telemetry::{LogThrottle, Metrics},
};

/// How often Tair is asked what it holds.
const POLL: Duration = Duration::from_millis(250);
/// How often it is asked in vain before the log says so.
const TOLD: u32 = 4;

/// Tair as a tier.
#[derive(Debug)]
pub(super) struct Online {
    tair: Arc<Tair>,
    state: ArcSwapOption<State>,
    /// The lake that is served, by the name in its `CURRENT`.
    lake: ArcSwapOption<String>,
    breaker: Breaker,
    /// How often Tair was asked in vain since it last said what it holds.
    failures: AtomicU32,
    told: LogThrottle,
    metrics: Arc<Metrics>,
}

/// What Tair said that it holds.
#[derive(Debug)]
struct State {
    /// The connections lost until then: behind a new one there may be another server.
    losses: u64,
    marker: Option<Marker>,
    publishing: Option<Publishing>,
    /// Whether the marker names another lake than the one that is served.
    is_anothers: bool,
}

/// What Tair has of one customer.
#[derive(Debug)]
pub(super) enum Found {
    /// A row of the publish that is served, or of the one under way.
    Row(Arc<Row>, Option<Label>),
    /// Nothing that could be used, and why.
    Nothing(&'static str),
}

/// How Tair is, for `/readyz` and metrics.
#[derive(Debug, Clone)]
pub struct OnlineState {
    /// Clients and connections.
    pub connections: Connections,
    /// The publish that it holds.
    pub marker: Option<Marker>,
    /// The publish under way, or the one that failed.
    pub publishing: Option<Publishing>,
    /// Whether reads go there.
    pub used: bool,
    /// Whether the breaker keeps reads back.
    pub breaker_open: bool,
}

impl Online {
    pub(super) fn new(tair: Arc<Tair>, config: &TairConfig, metrics: Arc<Metrics>) -> Self {
        let breaker = Breaker::new(config.breaker_failures, config.breaker_pause);
        Self {
            tair,
            state: ArcSwapOption::empty(),
            lake: ArcSwapOption::empty(),
            breaker,
            failures: AtomicU32::new(0),
            told: LogThrottle::default(),
            metrics,
        }
    }

    /// Asks Tair what it holds.
    pub(super) async fn refresh(&self) {
        let losses = self.tair.losses();
        match Box::pin(self.tair.markers()).await {
            Ok((marker, publishing)) => {
                self.breaker.succeeded();
                if self.failures.swap(0, Ordering::Relaxed) >= TOLD {
                    tracing::info!(server = self.tair.server(), "Tair answers");
                }
                self.settle(losses, marker, publishing);
            }
            Err(error @ (TairError::Timeout | TairError::Unreachable(_))) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == TOLD {
                    let server = self.tair.server();
                    self.told.log(&error.to_string(), |suppressed| {
                        tracing::warn!(server, %error, suppressed, "Tair does not answer; the snapshot does");
                    });
                }
            }
            Err(error) => {
                self.told.log(&error.to_string(), |suppressed| {
                    tracing::warn!(%error, suppressed, "Tair does not say what it holds");
                });
                self.state.store(None);
            }
        }
    }

    /// From now on the lake of this name is served, where it has one.
    pub(super) fn serves(&self, lake: Option<&String>) {
        let known = self.lake.load_full();
        if known.as_deref() != lake {
            self.lake.store(lake.cloned().map(Arc::new));
            if let Some(state) = self.state.load_full() {
                self.settle(state.losses, state.marker.clone(), state.publishing.clone());
            }
        }
    }

    /// What Tair said, less what is none of the served lake's.
    fn settle(&self, losses: u64, marker: Option<Marker>, publishing: Option<Publishing>) {
        let ours = self.lake.load();
        // A lake that was never published under a name has no rows under one.
        let is_anothers =
            |marker: &Marker| marker.lake.as_ref().is_some_and(|theirs| ours.as_deref() != Some(theirs));
        let publishing =
            publishing.filter(|publishing| !is_anothers(&publishing.marker)).map(|mut publishing| {
                publishing.unfinished.retain(|marker| !is_anothers(marker));
                publishing
            });
        let is_anothers = marker.as_ref().is_some_and(is_anothers);
        if let Some(marker) = marker.as_ref().filter(|_| is_anothers)
            && !self.state.load().as_deref().is_some_and(|before| before.is_anothers)
        {
            let (publish, snapshot) = (marker.publish, &marker.snapshot);
            tracing::error!(publish, %snapshot, "Tair has the customers of another lake; the snapshot answers");
        }
        self.state.store(Some(Arc::new(State { losses, marker, publishing, is_anothers })));
    }

    /// Keeps what is known of Tair fresh, for ever.
    pub(super) async fn poll(&self) {
        let refreshing = async {
            loop {
                self.refresh().await;
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::join!(refreshing, Box::pin(self.tair.watch()));
    }

    /// Why reads for publish `publish` must not go to Tair, if so; the breaker is another matter.
    fn reason_against(&self, publish: u64) -> Option<&'static str> {
        let state = self.state.load();
        match state.as_deref() {
            None if self.is_cut_off() => Some("unreachable"),
            None => Some("unknown"),
            Some(state) if state.is_anothers => Some("foreign"),
            Some(state) if state.losses != self.tair.losses() => {
                Some(if self.is_cut_off() { "unreachable" } else { "reconnected" })
            }
            Some(State { marker: Some(marker), .. }) if marker.publish >= publish => None,
            Some(_) => Some("behind"),
        }
    }

    fn is_cut_off(&self) -> bool {
        self.tair.connections().connected == 0
    }

    fn may_ask(&self, publish: u64) -> Result<(), &'static str> {
        match self.reason_against(publish) {
            Some(reason) => Err(reason),
            None if self.breaker.allows(Instant::now) => Ok(()),
            None => Err("breaker"),
        }
    }

    /// Of which snapshot the rows of publish `number` are.
    fn label(&self, number: u64) -> Option<Label> {
        let state = self.state.load();
        let state = state.as_deref()?;
        let publishing = state.publishing.iter().flat_map(|p| p.unfinished.iter().chain([&p.marker]));
        let marker = publishing.chain(&state.marker).find(|marker| marker.publish == number)?;
        Some(Label { snapshot: marker.snapshot.as_str().into(), as_of: marker.as_of.as_str().into() })
    }

    fn understand(&self, publish: u64, id: &CustomerId, found: Option<StoredRow>) -> Found {
        let Some(found) = found else { return Found::Nothing("miss") };
        let label = if found.publish <= publish {
            None
        } else {
            match self.label(found.publish) {
                Some(label) => Some(label),
                None => return Found::Nothing("ahead"),
            }
        };
        Found::Row(Arc::new(Row::new(id.clone(), found.views)), label)
    }

    /// Lets the breaker know how a call went of which these are the answers: well, if the server gave one of them.
    fn judge<'a, T: 'a>(&self, answers: impl IntoIterator<Item = &'a Result<T, TairError>>) {
        let mut failed = None;
        for answer in answers {
            match answer {
                // A key of another type is no sign of trouble with the server.
                Err(error) if !error.is_wrong_type() => failed = Some(error),
                _ => return self.breaker.succeeded(),
            }
        }
        if let Some(error) = failed {
            self.breaker.failed(Instant::now());
            tracing::debug!(%error, "a read from Tair failed");
        }
    }

    /// One customer.
    pub(super) async fn row(&self, publish: u64, fields: &Fields, id: &CustomerId) -> Found {
        if let Err(reason) = self.may_ask(publish) {
            return Found::Nothing(reason);
        }
        // A caller that goes away must not leave the breaker waiting for the one that tries.
        let asked = Asked { breaker: &self.breaker, answered: false };
        let answer = self.tair.row(id.as_str(), fields).await;
        asked.answered();
        self.judge([&answer]);
        match answer {
            // What was lost meanwhile may have been replaced by something older.
            Ok(found) => self
                .reason_against(publish)
                .map_or_else(|| self.understand(publish, id, found), Found::Nothing),
            Err(error) => Found::Nothing(error.reason()),
        }
    }

    /// Several customers, in the order of `ids`.
    pub(super) async fn rows(&self, publish: u64, fields: &Fields, ids: &[&CustomerId]) -> Vec<Found> {
        if let Err(reason) = self.may_ask(publish) {
            return ids.iter().map(|_| Found::Nothing(reason)).collect();
        }
        let asked = Asked { breaker: &self.breaker, answered: false };
        let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let answers = self.tair.rows(&names, fields).await;
        asked.answered();
        self.judge(&answers);
        let against = self.reason_against(publish);
        let found = ids.iter().zip(answers).map(|(id, answer)| match (answer, against) {
            (Ok(found), None) => self.understand(publish, id, found),
            (Ok(_), Some(reason)) => Found::Nothing(reason),
            (Err(error), _) => Found::Nothing(error.reason()),
        });
        found.collect()
    }

    /// Members of a segment as publish `publish` has them, if all that were asked for are there; an empty place is a forgotten one's.
    pub(super) async fn members(
        &self,
        publish: u64,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<Option<CustomerId>>, &'static str> {
        self.may_ask(publish)?;
        let asked = Asked { breaker: &self.breaker, answered: false };
        let answer = self.tair.members(publish, segment, offset, limit).await;
        asked.answered();
        self.judge([&answer]);
        let found = answer.map_err(|error| error.reason())?;
        if let Some(reason) = self.reason_against(publish) {
            return Err(reason);
        }
        if found.len() != limit {
            return Err("miss");
        }
        let member = |id: &String| CustomerId::parse(id).map(Some).map_err(|_| "content");
        found.iter().map(|id| if id.is_empty() { Ok(None) } else { member(id) }).collect()
    }

    /// How it is, seen from publish `publish`.
    pub(super) fn state(&self, publish: u64) -> OnlineState {
        let state = self.state.load();
        let breaker_open = self.breaker.is_open();
        OnlineState {
            connections: self.tair.connections(),
            marker: state
                .as_deref()
                .filter(|state| !state.is_anothers)
                .and_then(|state| state.marker.clone()),
            publishing: state.as_deref().and_then(|state| state.publishing.clone()),
            used: self.reason_against(publish).is_none() && !breaker_open,
            breaker_open,
        }
    }

    /// Brings the metrics that tell how it is up to date, seen from publish `publish`.
    pub(super) fn observe(&self, publish: u64) {
        let (state, metrics) = (self.state(publish), &self.metrics);
        let connected = state.connections.connected;
        let broken = state.connections.all - connected;
        metrics.tair_connections.with_label_values(&["connected"]).set(gauge(connected as u64));
        metrics.tair_connections.with_label_values(&["broken"]).set(gauge(broken as u64));
        metrics.tair_used.set(i64::from(state.used));
        metrics.tair_breaker_open.set(i64::from(state.breaker_open));
        metrics.tair_publish.set(gauge(state.marker.as_ref().map_or(0, |marker| marker.publish)));
        let as_of = state.marker.and_then(|marker| DateTime::parse_from_rfc3339(&marker.as_of).ok());
        metrics.tair_age.set(as_of.map_or(0.0, |as_of| seconds_since(as_of.to_utc())));
        metrics
            .tair_publishing
            .set(state.publishing.as_ref().map_or(0, |publishing| gauge(publishing.marker.publish)));
        metrics.tair_publishing_failed.set(i64::from(state.publishing.as_ref().is_some_and(|p| p.released)));
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = |publishing: &Publishing| publishing.done as f64 / publishing.customers.max(1) as f64;
        metrics.tair_publishing_ratio.set(state.publishing.as_ref().map_or(0.0, share));
    }

    /// Counts a read that Tair could not answer.
    pub(super) fn count(&self, reason: &str) {
        self.metrics.fallbacks.with_label_values(&[reason]).inc();
    }
}

/// A call under way; one that is dropped counts as failed.
struct Asked<'a> {
    breaker: &'a Breaker,
    answered: bool,
}

impl Asked<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered && self.breaker.is_open() {
            self.breaker.failed(Instant::now());
        }
    }
}
