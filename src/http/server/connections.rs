//! Bounds of connections: for the process, for each address, and by the limit of open files.
//!
//! Connections beyond a bound are spare ones: they get the answer to a probe, or 503 to anything else, and
//! are closed. So `/healthz` and `/readyz` answer while clients hold all other connections. There are few
//! spare connections, and a new one replaces the oldest.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::{
    config::HttpConfig,
    telemetry::{LogThrottle, Metrics},
};

/// Open files that are kept for spare connections, reads of the lake, Tair and the log.
const RESERVED_FILES: usize = 192;
/// Spare connections that may wait for a request.
const SPARES: usize = 16;
/// Spare connections that may be open, with those that are about to be closed.
const OPEN_SPARES: usize = 64;

/// All connections of the process.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    per_address: usize,
    open: Mutex<Open>,
    /// Signal that a spare connection was closed.
    spare_closed: Notify,
    gauge: IntGauge,
    throttle: LogThrottle,
}

#[derive(Debug, Default)]
struct Open {
    regular: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Spare connections, oldest first.
    waiting_spares: VecDeque<Arc<Notify>>,
    spares: usize,
}

/// The place of a connection among all connections, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    kind: PlaceKind,
}

#[derive(Debug)]
enum PlaceKind {
    Regular(IpAddr),
    /// With the signal to close the connection in favor of a newer one.
    Spare(Arc<Notify>),
}

impl Connections {
    /// Bounds connections by `config`, and by the number of files that the process may open.
    pub(super) fn new(config: &HttpConfig, open_files: Option<u64>, metrics: &Metrics) -> Arc<Self> {
        let configured = config.connections.get();
        let files = open_files.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let limit = configured.min(files.saturating_sub(RESERVED_FILES).max(files / 4)).max(1);
        if limit < configured {
            let why = "the limit of open files allows no more connections; raise it with `ulimit -n`";
            tracing::warn!(connections = limit, configured, open_files = files, why, "fewer connections");
        }
        Arc::new(Self {
            limit,
            per_address: config.connections_per_address.get(),
            open: Mutex::default(),
            spare_closed: Notify::new(),
            gauge: metrics.http_connections.clone(),
            throttle: LogThrottle::default(),
        })
    }

    /// Returns the place of a new connection from `client`. Waits while too many spare connections are about
    /// to be closed.
    pub(super) async fn admit(self: &Arc<Self>, client: IpAddr) -> Place {
        loop {
            match self.try_admit(client) {
                Some(place) => return place,
                None => self.spare_closed.notified().await,
            }
        }
    }

    fn try_admit(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let address = network(client);
        let mut open = self.lock();
        let at_address = open.by_address.get(&address).copied().unwrap_or_default();
        let kind = if open.regular < self.limit && at_address < self.per_address {
            open.regular += 1;
            open.by_address.insert(address, at_address + 1);
            PlaceKind::Regular(address)
        } else {
            let limit = if at_address < self.per_address { "connections" } else { "connections_per_address" };
            self.throttle.log(limit, |suppressed| {
                tracing::warn!(%client, limit, suppressed, "too many connections: only probes are answered");
            });
            if open.spares >= OPEN_SPARES {
                return None;
            }
            open.spares += 1;
            if open.waiting_spares.len() >= SPARES
                && let Some(oldest) = open.waiting_spares.pop_front()
            {
                oldest.notify_one();
            }
            let replaced = Arc::new(Notify::new());
            open.waiting_spares.push_back(Arc::clone(&replaced));
            PlaceKind::Spare(replaced)
        };
        self.gauge.inc();
        drop(open);
        Some(Place { connections: Arc::clone(self), kind })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether the connection is beyond a bound.
    pub(super) fn is_spare(&self) -> bool {
        matches!(self.kind, PlaceKind::Spare(_))
    }

    /// Returns when a newer spare connection needs the place; never for other connections.
    pub(super) async fn replaced(&self) {
        match &self.kind {
            PlaceKind::Regular(_) => std::future::pending().await,
            PlaceKind::Spare(replaced) => replaced.notified().await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        match &self.kind {
            PlaceKind::Regular(address) => {
                open.regular -= 1;
                let left = open.by_address.get(address).map_or(0, |count| count.saturating_sub(1));
                if left == 0 {
                    open.by_address.remove(address);
                } else {
                    open.by_address.insert(*address, left);
                }
            }
            PlaceKind::Spare(replaced) => {
                open.spares -= 1;
                self.connections.spare_closed.notify_one();
                open.waiting_spares.retain(|waiting| !Arc::ptr_eq(waiting, replaced));
            }
        }
        self.connections.gauge.dec();
    }
}

/// Returns the address by which connections are counted: of IPv6 the first 64 bits, of which one client often
/// has all addresses.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn connections(limit: usize, per_address: usize, open_files: Option<u64>) -> Arc<Connections> {
        let number = |number| NonZeroUsize::new(number).expect("not zero");
        let config = HttpConfig {
            connections: number(limit),
            connections_per_address: number(per_address),
            ..HttpConfig::default()
        };
        Connections::new(&config, open_files, &Metrics::unobserved())
    }

    #[test]
    fn connections_are_bounded_by_process_address_and_open_files() {
        let client = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let all = connections(3, 2, None);
        let places: Vec<Place> = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
            .iter()
            .filter_map(|address| all.try_admit(client(address)))
            .collect();
        let spare: Vec<bool> = places.iter().map(Place::is_spare).collect();
        assert_eq!(spare, [false, false, true, false, true]);
        assert_eq!(all.gauge.get(), 5);
        drop(places);
        assert_eq!(all.gauge.get(), 0);
        assert!(all.lock().by_address.is_empty() && all.lock().waiting_spares.is_empty());
        assert_eq!(network(client("2001:db8::1:2:3:4")), client("2001:db8::"));
        assert_eq!(connections(4_096, 1, Some(1_024)).limit, 832);
        assert_eq!(connections(4_096, 1, Some(256)).limit, 64);
        assert_eq!(connections(4_096, 1, Some(1 << 20)).limit, 4_096);
    }

    #[test]
    fn newest_spare_connection_replaces_the_oldest() {
        let all = connections(1, 1, None);
        let client = IpAddr::from([10, 0, 0, 1]);
        let places: Vec<Place> = (0..=SPARES + 1).filter_map(|_| all.try_admit(client)).collect();
        let is_replaced = |place: &Place| futures::FutureExt::now_or_never(place.replaced()).is_some();
        assert!(!is_replaced(&places[0]) && is_replaced(&places[1]) && !is_replaced(&places[2]));
        let more: Vec<Place> = (0..OPEN_SPARES).filter_map(|_| all.try_admit(client)).collect();
        assert_eq!(more.len(), OPEN_SPARES - SPARES - 1);
    }
}
