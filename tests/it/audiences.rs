//! Audiences: grammar, endpoint, limits, named audiences, and a comparison with DuckDB.

mod by_address;
mod compare;
mod duckdb;
mod endpoint;
mod grammar;
mod limits;
mod named;
