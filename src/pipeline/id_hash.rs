//! A hash of customer ids that is stable across machines and versions, by which samples of customers are
//! drawn.

/// Returns whether the customer `id` is in a sample of one in `one_in` customers.
pub(super) fn is_sampled(id: &str, one_in: u64) -> bool {
    fnv1a(id).is_multiple_of(one_in)
}

/// Returns the 64-bit FNV-1a hash of `text`.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
