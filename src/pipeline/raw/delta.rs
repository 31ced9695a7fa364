//! Delta tables: the data files of the current version, and their rows as the table defines them.

#[cfg(not(feature = "delta"))]
mod absent;
#[cfg(feature = "delta")]
mod kernel;

#[cfg(not(feature = "delta"))]
pub(crate) use absent::{DeltaFile, current_files};
#[cfg(feature = "delta")]
pub(crate) use kernel::{DeltaFile, current_files};
