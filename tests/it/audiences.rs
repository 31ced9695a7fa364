//! Audiences: grammar, endpoint, named audiences, and a comparison with DuckDB.

mod duckdb;
mod endpoint;
mod grammar;
mod named;
