//! Larder, a customer feature server: computes features from raw retail data and serves them over REST.
//!
//! ```text
//! raw files ──pipeline──▶ snapshot (Parquet + manifest, in the lake) ──publish──▶ Tair
//!                              ▲                                                   │
//!                              └── miss, outage ── serving ◀── http (REST) ◀── hit ┘
//! ```
//!
//! The modules form layers. A module imports only from layers above its own in this table, which
//! `tests/it/conventions.rs` checks.
//!
//! | layer | modules |
//! |---|---|
//! | 1 | [`feature`], [`config`], [`workers`], [`cache`], [`private_file`], [`open_files`], [`causes`] |
//! | 2 | [`telemetry`]: logs, metrics, traces; `demo`: generated retail data |
//! | 3 | [`lake`]: objects; [`views`]: SQL; [`tair`]: Redis; [`audience`]: audiences; [`feast`]: types |
//! | 4 | [`snapshot`]: manifest, parts, `CURRENT`, erasure list |
//! | 5 | `pipeline`: raw files to snapshot; [`publish`]: snapshot to Tair; [`serving`]: tiered reads |
//! | 6 | [`http`]: REST API |
//! | 7 | [`cli`]: subcommands, which wire the modules together |
//!
//! `pipeline` and `demo` need the cargo feature `build`.

pub mod audience;
pub mod cache;
pub mod causes;
pub mod cli;
pub mod config;
#[cfg(feature = "build")]
pub mod demo;
pub mod feast;
pub mod feature;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod lake;
pub mod open_files;
#[cfg(feature = "build")]
pub mod pipeline;
pub mod private_file;
pub mod publish;
pub mod serving;
pub mod snapshot;
pub mod tair;
pub mod telemetry;
pub mod views;
pub mod workers;
