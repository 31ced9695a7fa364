//! Audiences: grammar, endpoint, limits, named audiences, and a comparison with DuckDB.

mod duckdb;
mod endpoint;
mod grammar;
mod limits;
mod named;
