//! CSV records. The reader and its check are built alone, since the rest of the pipeline needs DataFusion.
#![no_main]

#[path = "../../src/pipeline"]
mod pipeline {
    pub(crate) mod raw {
        pub(crate) mod records;
    }
}

#[path = "../../src/fuzzing/csv_records.rs"]
mod csv_records;

libfuzzer_sys::fuzz_target!(|data: &[u8]| csv_records::csv_records(data));
