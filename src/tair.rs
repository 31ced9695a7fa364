//! Client of the online store: Tair, or any server compatible with Redis OSS.
//!
//! [`Tair`] is the client of readers, with deadlines of milliseconds. [`Writer`] is the client of publishers,
//! which retries. Rows are read and written over pipelined connections of the module `connection`, everything
//! else over `fred`, which no other module depends on. Independent of Parquet, of the lake and of HTTP.

use fred::error::{Error as FredError, ErrorKind};

mod batch;
mod cluster;
pub mod codec;
mod connection;
mod endpoint;
mod fred_clients;
mod inspection;
mod keys;
mod lease;
mod losses;
mod pipelines;
mod read;
mod row_connections;
mod settings;
mod single_node;
mod write;

pub use batch::{Args, Batch, Encoded, Reply};
pub(crate) use connection::resp::fuzz as fuzz_reply;
pub use inspection::Inspection;
pub use keys::{Keys, PAGE};
pub use lease::Lease;
pub use read::{Connections, Fields, Tair};
pub use write::{WholeIndex, Writer};

use crate::telemetry::FallbackReason;
use losses::Losses;

/// Advice for a `redis://` URL of a cluster node.
const USE_CLUSTER_URL: &str =
    "this is a cluster; use a URL that begins with redis-cluster:// or rediss-cluster://";
/// Advice for a `redis-cluster://` URL of a server that is no cluster.
const USE_PLAIN_URL: &str = "this is not a cluster; use a URL that begins with redis:// or rediss://";

/// Errors of Tair.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TairError {
    /// Invalid setting.
    #[error("in [tair]: {0}")]
    Setting(String),
    /// The deadline of a command passed.
    #[error("Tair timed out")]
    Timeout,
    /// No connection, or the connection was lost.
    #[error("Tair is unreachable: {0}")]
    Unreachable(String),
    /// Error answer to a command.
    #[error("Tair answered with an error: {0}")]
    Refused(String),
    /// Unexpected content of a key.
    #[error("unexpected content of key {key} in Tair: {why}")]
    Content {
        /// Name of the key.
        key: String,
        /// Description of the problem.
        why: String,
    },
    /// Another publisher holds the lease.
    #[error("another publish is in progress; it renewed its lease while this one waited")]
    Busy,
    /// The lease was lost.
    #[error("lease lost: another publisher may have taken over; nothing more was written")]
    LeaseLost,
}

impl TairError {
    /// Returns the label value for metrics.
    #[must_use]
    pub fn reason(&self) -> FallbackReason {
        match self {
            Self::Timeout => FallbackReason::Timeout,
            Self::Unreachable(_) => FallbackReason::Unreachable,
            Self::Refused(_) => FallbackReason::Refused,
            Self::Content { .. } => FallbackReason::Content,
            Self::Setting(_) | Self::Busy | Self::LeaseLost => FallbackReason::Other,
        }
    }

    /// Checks whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let transient = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK"];
        match self {
            Self::Timeout | Self::Unreachable(_) => true,
            Self::Refused(why) => transient.iter().any(|word| why.contains(word)),
            _ => false,
        }
    }

    /// Checks whether the key holds a value of another type than the command expects.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused(why) if why.contains("WRONGTYPE"))
    }

    /// Returns the error for an error answer, with advice if the URL is of the wrong kind. `fred` follows the
    /// redirects of a cluster, so a redirect that arrives here was an answer to a plain connection.
    fn refused(why: &str) -> Self {
        Self::Refused(with_advice(why))
    }

    /// Adds advice to an error answer if the URL is of the wrong kind.
    fn advise(&mut self) {
        if let Self::Refused(why) = self {
            *why = with_advice(why);
        }
    }
}

impl From<FredError> for TairError {
    fn from(error: FredError) -> Self {
        let details = losses::plain(error.details());
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Tls
            | ErrorKind::Backpressure
            | ErrorKind::Routing => Self::Unreachable(details.to_owned()),
            _ => Self::refused(details),
        }
    }
}

/// Appends advice to an error answer if the URL is of the wrong kind.
fn with_advice(why: &str) -> String {
    let first = why.split(' ').next().unwrap_or_default();
    match first {
        "MOVED" | "CROSSSLOT" => format!("{why}; {USE_CLUSTER_URL}"),
        _ if why.contains("cluster support disabled") => format!("{why}; {USE_PLAIN_URL}"),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_redirect_advises_cluster_url_and_is_not_retried() {
        for (why, hint) in [
            ("MOVED 3999 127.0.0.1:6381", Some("redis-cluster://")),
            ("CROSSSLOT Keys in request don't hash to the same slot", Some("redis-cluster://")),
            ("ERR This instance has cluster support disabled", Some("redis://")),
            ("WRONGTYPE Operation against a key", None),
        ] {
            let error = TairError::refused(why);
            let text = error.to_string();
            assert!(text.contains(why) && hint.is_none_or(|hint| text.contains(hint)), "{text}");
            assert_eq!(text.ends_with(why), hint.is_none(), "{text}");
            assert!(!error.is_transient(), "{text}");
        }
        assert!(TairError::refused("LOADING Redis is loading the dataset in memory").is_transient());
    }
}
