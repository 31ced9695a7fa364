//! The online store: Tair, or any Redis OSS-compatible server, over `fred`, and for rows over connections of our own.
//!
//! Knows keys, fields and small records; nothing of Parquet, of the lake or of HTTP. The only place that knows `fred`.
//! [`Tair`] reads, within tens of milliseconds or not at all; [`Writer`] is the publisher's side, patient and bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fred::error::{Error as FredError, ErrorKind};

mod batch;
pub mod codec;
mod connect;
mod keys;
mod lease;
mod pipelines;
mod read;
mod wire;
mod write;

pub use batch::{Args, Batch, Encoded, Reply};
pub use keys::{Keys, PAGE};
pub use lease::Lease;
pub use read::{Connections, Fields, Tair};
pub use write::Writer;

/// Why Tair did not do as it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TairError {
    /// A setting that cannot be.
    #[error("in [tair]: {0}")]
    Setting(String),
    /// No answer in time.
    #[error("Tair did not answer in time")]
    Timeout,
    /// There is no connection, or it broke.
    #[error("Tair cannot be reached: {0}")]
    Unreachable(String),
    /// The server refused a command.
    #[error("Tair refused: {0}")]
    Refused(String),
    /// A key of ours holds what it should not.
    #[error("{key} in Tair does not hold what it should: {why}")]
    Content {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Somebody else publishes.
    #[error("another publish is under way; it renewed its lease while this one waited")]
    Busy,
    /// The right to write was lost.
    #[error("the lease was lost: another publisher may have taken over, and nothing more was written")]
    LeaseLost,
}

impl TairError {
    /// A word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Content { .. } => "content",
            Self::Setting(_) | Self::Busy | Self::LeaseLost => "other",
        }
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let passing = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"];
        match self {
            Self::Timeout | Self::Unreachable(_) => true,
            Self::Refused(why) => passing.iter().any(|word| why.contains(word)),
            _ => false,
        }
    }

    /// Whether a key holds another type than the command is for.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused(why) if why.contains("WRONGTYPE"))
    }
}

impl From<FredError> for TairError {
    fn from(error: FredError) -> Self {
        let details = error.details().to_owned();
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Tls | ErrorKind::Backpressure | ErrorKind::Routing => {
                Self::Unreachable(details)
            }
            _ => Self::Refused(details),
        }
    }
}

/// Counts the connections that broke. Whoever trusts what Tair said before looks here whether it may still.
#[derive(Debug, Clone, Default)]
struct Losses(Arc<AtomicU64>);

impl Losses {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
