//! The tests from the outside: real files, real Parquet, real HTTP, the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test that cannot go on should panic where it stands; numbers that are the same are so to the bit"
)]
#![expect(clippy::print_stdout, reason = "a check without its data says so")]

mod access;
mod audiences;
mod bucket;
mod build;
mod churn;
mod cli;
mod contract;
mod delivery;
mod deploy;
mod docs;
mod export;
mod faults;
mod feast;
mod forget;
mod house;
mod oss;
mod over_time;
mod paging;
mod purchases;
mod python;
mod quality;
mod raw;
mod readers;
mod recommend;
mod redis;
mod rest;
mod rfm;
mod settings;
mod shop;
mod swap;
mod tair;
