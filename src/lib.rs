//! Larder, a customer feature server.
//!
//! ```text
//! raw files ──pipeline──▶ snapshot (Parquet + manifest, in the lake) ──publish──▶ readers
//!                              ▲
//!                              └────────── serving ◀── http (REST)
//! ```
//!
//! The storeys, each of which imports only from those above it in this list:
//! - [`feature`] (the nouns), [`config`] (all settings), [`telemetry`] (log and metrics), [`workers`] (threads of their own),
//!   [`cache`] (values within a budget);
//! - [`lake`] (the object store), [`views`] (the registry of SQL views), [`tair`] (the online store), [`audience`] (expressions and sets);
//! - [`snapshot`] (ids, manifest, Parquet parts, `CURRENT`);
//! - `pipeline` (raw data → snapshot, with the cargo feature `build`), [`publish`] (snapshot → Tair), [`serving`] (the tiered read);
//! - [`http`] (REST);
//! - [`cli`] (the subcommands, where the parts are wired together).

pub mod audience;
pub mod cache;
pub mod cli;
pub mod config;
#[cfg(feature = "build")]
pub mod demo;
pub mod feature;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod lake;
#[cfg(feature = "build")]
pub mod pipeline;
pub mod publish;
pub mod serving;
pub mod snapshot;
pub mod tair;
pub mod telemetry;
pub mod views;
pub mod workers;
