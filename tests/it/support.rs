//! Helpers of the tests: shops, servers, callers, and outside programs.

pub(crate) mod bucket;
pub(crate) mod callers;
pub(crate) mod chromium;
pub(crate) mod collector;
pub(crate) mod dice;
pub(crate) mod large;
pub(crate) mod lists;
#[path = "../../benches/support/snapshot.rs"]
#[allow(dead_code, reason = "benchmarks use the other parts")]
pub(crate) mod made;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod ram_policy;
pub(crate) mod readers;
pub(crate) mod redis;
pub(crate) mod rfm;
pub(crate) mod shop;
