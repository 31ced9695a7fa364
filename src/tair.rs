//! The online store: Tair, or any Redis OSS-compatible server, over `fred`, and for rows over connections of our own.
//!
//! Knows keys, fields and small records; nothing of Parquet, of the lake or of HTTP. The only place that knows `fred`.
//! [`Tair`] reads, within tens of milliseconds or not at all; [`Writer`] is the publisher's side, patient and bounded.

use fred::error::{Error as FredError, ErrorKind};

mod batch;
pub mod codec;
mod connect;
mod keys;
mod lease;
mod losses;
mod pipelines;
mod probe;
mod read;
mod wire;
mod write;

pub use batch::{Args, Batch, Encoded, Reply};
pub use keys::{Keys, PAGE};
pub use lease::Lease;
pub use read::{Connections, Fields, Tair};
pub(crate) use wire::resp::fuzz as fuzz_reply;
pub use write::Writer;

use losses::Losses;

/// The hint for a server that knows only a part of all keys.
const CLUSTER: &str = "this is a cluster; use a URL that begins with redis-cluster:// or rediss-cluster://";
/// The opposite.
const NO_CLUSTER: &str = "this is no cluster; use a URL that begins with redis:// or rediss://";

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
        let passing = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK"];
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

    /// A command that the server refused, with a way out where it is the URL that is wrong. `fred` follows a cluster to
    /// where keys have moved, so that what comes up to here was asked of a single server.
    fn refused(why: &str) -> Self {
        Self::Refused(hinted(why))
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

/// Returns the words of a server, with a way out where it is the URL that is wrong.
fn hinted(why: &str) -> String {
    let first = why.split(' ').next().unwrap_or_default();
    match first {
        "MOVED" | "CROSSSLOT" => format!("{why}; {CLUSTER}"),
        _ if why.contains("cluster support disabled") => format!("{why}; {NO_CLUSTER}"),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_the_wrong_kind_is_told_and_not_tried_again() {
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
            assert!(!error.is_passing(), "{text}");
        }
        assert!(TairError::refused("LOADING Redis is loading the dataset in memory").is_passing());
    }
}
