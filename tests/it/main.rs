//! The tests from the outside: real files, real Parquet, real HTTP, the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test that cannot go on should panic where it stands; numbers that are the same are so to the bit"
)]
#![expect(clippy::print_stdout, reason = "a check without its data says so")]

mod access;
mod activation;
mod audiences;
mod audit;
mod build;
mod churn;
mod cli;
mod compression;
mod contract;
mod conventions;
mod cors;
mod deploy;
mod examples;
mod export;
mod faults;
mod feast;
mod forget;
mod fuzz;
mod history;
mod lake;
mod paging;
mod publish_gate;
mod raw;
mod recommend;
mod request_log;
mod rest;
mod snapshot_format;
mod support;
mod tair;
mod tls;
