//! Raw tables: their columns, the readers of raw files, and the checks of each line.
//!
//! The readers (`read`) convert every line of every format to text fields in the order of the table's
//! columns. The checks (`check`) convert the fields to a typed line, or to an error that says why the line is
//! bad. This module does not depend on the staging or on SQL.

pub(crate) mod check;
pub(crate) mod currency;
pub(crate) mod decode;
mod delta;
mod error;
pub(crate) mod files;
pub(crate) mod format;
mod header;
mod json_path;
mod money;
pub(crate) mod object;
pub(crate) mod pattern;
pub(crate) mod read;
pub mod records;
mod spec;
mod stray;
pub(crate) mod subject;
mod table;
pub(crate) mod time;
pub(crate) mod time_format;
pub(crate) mod transaction;
pub(crate) mod value;

pub use error::RawError;
pub use spec::TableSpec;
pub(crate) use table::RawType;
pub use table::Table;
