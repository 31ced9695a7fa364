//! Ids of traces and spans, and the header `traceparent`, by which a caller hands its trace on.
//!
//! The header has the form of W3C Trace Context: `00-<trace id>-<span id>-<flags>`.

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Length of the header in version 00.
const LENGTH: usize = 55;
/// Flag of a trace that the caller records.
const SAMPLED: u128 = 1;

/// Id of a trace, shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(super) u128);

impl From<u128> for TraceId {
    fn from(id: u128) -> Self {
        Self(id)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The trace and the span of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace that the caller's request belongs to.
    pub trace_id: TraceId,
    pub(super) span_id: u64,
    /// Whether the caller records the trace.
    pub(super) is_sampled: bool,
}

impl TraceParent {
    /// Parses the value of the header; `None` if it is malformed.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = header.get(..LENGTH)?;
        let (version, trace_id) = (hex(&text[..2])?, hex(&text[3..35])?);
        let (span_id, flags) = (hex(&text[36..52])?, hex(&text[53..])?);
        // Later versions may append fields.
        let ends = match header.get(LENGTH) {
            None => true,
            Some(next) => *next == b'-' && version > 0,
        };
        let has_dashes = [2, 35, 52].iter().all(|at| text[*at] == b'-');
        if version == 0xff || trace_id == 0 || span_id == 0 || !has_dashes || !ends {
            return None;
        }
        let span_id = u64::try_from(span_id).ok()?;
        Some(Self { trace_id: TraceId(trace_id), span_id, is_sampled: flags & SAMPLED != 0 })
    }
}

/// Parses lower-case hexadecimal digits.
fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Returns a random id that is not 0. Ids need not be secret, so a fast generator (xoroshiro128++) makes
/// them.
pub(super) fn random() -> u64 {
    thread_local!(static STATE: Cell<[u64; 2]> = Cell::new(seed()));
    let [a, mut b] = STATE.get();
    let number = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
    b ^= a;
    STATE.set([a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28)]);
    number.max(1)
}

/// Returns a random state, which must not be 0.
fn seed() -> [u64; 2] {
    // The keys of `RandomState` are random.
    [0, 1].map(|number: u64| RandomState::new().hash_one(number) | 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn traceparent_is_parsed_as_the_specification_says() {
        let parse = |text: &str| TraceParent::parse(text.as_bytes());
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = parse(valid).expect("valid");
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span_id, parent.is_sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parse(&valid.replace("-01", "-02")).map(|parent| parent.is_sampled), Some(false));
        // A later version is read like this one.
        assert_eq!(parse(&format!("{}-more", valid.replacen("00", "01", 1))), Some(parent));
        for malformed in [
            "",
            &valid[..54],
            &format!("{valid}-more"),
            &format!("{valid}0"),
            &valid.replacen("00", "ff", 1),
            &valid.replace("4bf9", "4BF9"),
            &valid.replace("00f067aa0ba902b7", "0000000000000000"),
            &valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &valid.replace('-', "_"),
            &valid.replace("-01", "-é"),
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn random_ids_differ_within_and_between_threads() {
        let take = || (0..1_000).map(|_| random()).collect::<Vec<_>>();
        let other = std::thread::spawn(take).join().expect("no panic");
        let ids: BTreeSet<u64> = take().into_iter().chain(other).collect();
        assert_eq!((ids.len(), ids.contains(&0)), (2_000, false));
    }
}
