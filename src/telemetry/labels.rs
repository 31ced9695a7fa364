//! Labels with known values. Their metrics have every value from the start, so that a rate sees the first
//! failure.

/// A label whose values are known.
pub trait KnownLabel: Copy + 'static {
    /// All values, in the order of [`KnownLabel::index`].
    const ALL: &'static [Self];

    /// Returns the place of the value in [`KnownLabel::ALL`].
    fn index(self) -> usize;

    /// Returns the value as metrics and logs show it.
    fn as_str(self) -> &'static str;
}

macro_rules! labels {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident { $($(#[doc = $help:literal])+ $value:ident = $text:literal,)+ }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {
                $($(#[doc = $help])+ $value,)+
            }

            impl KnownLabel for $name {
                const ALL: &'static [Self] = &[$(Self::$value),+];

                fn index(self) -> usize {
                    self as usize
                }

                fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$value => $text,)+
                    }
                }
            }
        )+
    };
}

labels! {
    /// Reason why a read was not answered by Tair.
    FallbackReason {
        /// No row.
        Miss = "miss",
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Unreachable = "unreachable",
        /// Error answer.
        Refused = "refused",
        /// Malformed value.
        Content = "content",
        /// The circuit breaker is open.
        Breaker = "breaker",
        /// Tair holds an older publish.
        Behind = "behind",
        /// State unknown since a reconnect.
        Reconnected = "reconnected",
        /// State never read.
        Unknown = "unknown",
        /// Row of an unknown newer publish.
        Ahead = "ahead",
        /// Tair holds the customers of another lake.
        Foreign = "foreign",
        /// Any other error.
        Other = "other",
    }
    /// Fate of a span of a trace.
    SpanOutcome {
        /// The collector took the span.
        Exported = "exported",
        /// The queue was full.
        Dropped = "dropped",
        /// The collector did not take the span.
        Failed = "failed",
    }
    /// Reason why a read from the lake failed.
    LakeFault {
        /// No such object.
        Missing = "missing",
        /// A checksum or a length is wrong.
        Damaged = "damaged",
        /// No answer in time.
        Timeout = "timeout",
        /// Error of the store.
        Store = "store",
    }
    /// Outcome of a poll of `CURRENT` and the erasure list.
    PollOutcome {
        /// No change.
        Unchanged = "unchanged",
        /// A snapshot was activated.
        Swapped = "swapped",
        /// The erasure list was applied.
        Forgot = "forgot",
        /// The lake could not be read.
        Error = "error",
    }
    /// Outcome of an export.
    ExportOutcome {
        /// The receiver got all rows.
        Finished = "finished",
        /// The receiver disconnected.
        Left = "left",
        /// The receiver was too slow.
        Idle = "idle",
        /// The rows could not be read.
        Failed = "failed",
    }
    /// Bound by which a request was answered with 503.
    ShedReason {
        /// Beyond the number of connections.
        Connections = "connections",
        /// Too many requests wait.
        Queue = "queue",
        /// No memory for the body or the answer.
        Bodies = "bodies",
    }
    /// A cache of the service.
    CacheName {
        /// Blocks and footers of snapshots.
        Blocks = "blocks",
        /// Ids, columns, orders and sets of audiences.
        Audiences = "audiences",
        /// Customer rows of the memory tier.
        Memory = "memory",
        /// Comparisons of snapshots.
        Comparisons = "comparisons",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_list() {
        fn check<L: KnownLabel>() {
            for (at, value) in L::ALL.iter().enumerate() {
                assert_eq!(value.index(), at, "{}", value.as_str());
            }
        }
        check::<FallbackReason>();
        check::<LakeFault>();
        check::<PollOutcome>();
        check::<ExportOutcome>();
        check::<ShedReason>();
        check::<CacheName>();
    }
}
