//! Audiences: the grammar, the endpoint, named ones, and the answers against another engine's.

mod duckdb;
mod endpoint;
mod grammar;
mod named;
