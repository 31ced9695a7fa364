//! Integration tests: files, Parquet, HTTP, Redis and the `larder` binary. CONTRIBUTING.md says where a test
//! belongs.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failed step ends a test; equal numbers are equal bit by bit"
)]
#![expect(clippy::print_stdout, reason = "tests print figures and their progress")]

mod access;
mod activation;
mod api_docs;
mod audiences;
mod audit;
mod browser;
mod build;
mod changes;
mod churn;
mod cli;
#[cfg(feature = "cluster")]
mod cluster;
mod compression;
mod configuration;
mod console;
mod contract;
mod conventions;
mod cors;
mod day_counts;
mod deploy;
mod docs;
mod doctor;
mod examples;
mod export;
mod faults;
mod feast;
mod forget;
mod fuzz;
mod history;
mod inspect;
mod kept_staging;
mod lake;
mod memberships;
mod metrics;
mod min_count;
mod overload;
mod paging;
mod publish_gate;
mod purchases;
mod raw;
mod recommend;
mod reload;
mod request_log;
mod rest;
mod rolling;
mod schedule;
mod secrets;
mod service_manager;
mod settings;
mod snapshot_format;
mod statistics;
mod support;
mod tair;
mod tls;
mod traces;
mod value;
