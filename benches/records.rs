//! Benchmark of the CSV record reader: the cost of Larder's buffer, line numbers and record texts on top of
//! `csv-core`.
//!
//! Run `cargo bench --bench records -- [LINES]`. Larder reads through its buffer, and plain `csv-core` reads
//! one slice of memory. The rounds alternate, and the best of five rounds counts.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{
    fmt::Write as _,
    hint::black_box,
    time::{Duration, Instant},
};

use csv_core::{ReadRecordResult, Reader};
use larder::pipeline::raw::records::Records;

const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let lines = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    println!("| file | MB | csv-core MB/s | Larder MB/s | Larder / csv-core |");
    println!("|---|---:|---:|---:|---:|");
    for (name, text) in
        [("plain", plain(lines)), ("a quoted field a line", quoted(lines)), ("all quoted", all_quoted(lines))]
    {
        let bytes = text.as_bytes();
        let (mut own, mut peer) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let (theirs, fields) = timed(|| by_csv_core(bytes));
            let (ours, found) = timed(|| by_larder(bytes));
            anyhow::ensure!(fields == found, "{name}: {fields} bytes in fields, and {found}");
            (own, peer) = (own.min(ours), peer.min(theirs));
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |time: Duration| bytes.len() as f64 / 1e6 / time.as_secs_f64();
        let ratio = rate(own) / rate(peer);
        println!(
            "| {name} | {} | {:.0} | {:.0} | {ratio:.2} |",
            bytes.len() / 1_000_000,
            rate(peer),
            rate(own)
        );
    }
    Ok(())
}

fn timed(read: impl FnOnce() -> u64) -> (Duration, u64) {
    let start = Instant::now();
    let found = black_box(read());
    (start.elapsed(), found)
}

/// Returns the total length of all fields, so that every field is read.
fn by_larder(bytes: &[u8]) -> u64 {
    let mut records = Records::new(bytes, b',', true);
    let mut found = 0;
    while let Ok(Some(record)) = records.next() {
        found += (0..record.len()).map(|at| record.bytes(at).len() as u64).sum::<u64>();
    }
    found
}

fn by_csv_core(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new();
    let (mut output, mut ends) = (vec![0; 1 << 16], vec![0; 64]);
    let (mut rest, mut written, mut fields, mut found) = (bytes, 0, 0, 0);
    loop {
        let (result, read, wrote, ended) =
            reader.read_record(rest, &mut output[written..], &mut ends[fields..]);
        rest = &rest[read..];
        (written, fields) = (written + wrote, fields + ended);
        match result {
            ReadRecordResult::Record => {
                let mut start = 0;
                for end in &ends[..fields] {
                    found += black_box(&output[start..*end]).len() as u64;
                    start = *end;
                }
                (written, fields) = (0, 0);
            }
            ReadRecordResult::InputEmpty => rest = &[],
            ReadRecordResult::End => return found,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                unreachable!("records are short")
            }
        }
    }
}

fn plain(lines: usize) -> String {
    let mut text =
        String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at,product_name,country\n");
    for at in 0..lines {
        let _ = writeln!(
            text,
            "C{:07},O{:08},P{:05},{},{}.{:02},2011-10-{:02} 14:13:15,WHITE HANGING HEART T-LIGHT \
             HOLDER,United Kingdom",
            at % 20_000,
            at / 3,
            at % 1_000,
            at % 9 + 1,
            at % 50,
            at % 100,
            at % 28 + 1
        );
    }
    text
}

fn quoted(lines: usize) -> String {
    plain(lines)
        .replace("WHITE HANGING HEART", "\"WHITE HANGING, HEART\"\"S\"")
        .replace("\"S\" T-LIGHT HOLDER", "\"S T-LIGHT HOLDER\"")
}

fn all_quoted(lines: usize) -> String {
    plain(lines).lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "\"{}\"", line.replace(',', "\",\""));
        text
    })
}
