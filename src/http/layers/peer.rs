//! The other end of a connection.

use std::{net::IpAddr, sync::Arc};

use super::pace::Pace;

/// The client of a connection, and how its requests are answered.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Address of the client, as text for the log.
    pub(super) client: Box<str>,
    /// Whether the connection is beyond a bound, so that only probes are answered.
    pub(super) is_spare: bool,
    /// Whether the connection began with a probe, so that it is served beside the listener.
    pub(super) is_beside_listener: bool,
    /// The turns of the thread that answers.
    pub(super) pace: Arc<Pace>,
}

impl Peer {
    /// Whether the connection is beyond a bound.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// Returns the peer of a connection that the current thread answers.
    pub(crate) fn new(client: IpAddr, is_spare: bool, is_beside_listener: bool) -> Self {
        let client = client.to_canonical().to_string().into();
        Self { client, is_spare, is_beside_listener, pace: Pace::of_thread() }
    }
}
