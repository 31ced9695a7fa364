//! Tair's tier against what the same server gives without Larder: `cargo bench --bench tair -- reads | publish | memory`.
//!
//! A real redis-server stands in for Tair; load generators and servers share the machine's cores. Debian's packages `redis-server`,
//! `redis-tools`, `webdis` and `wrk` bring what is needed. All contestants take turns in one run, and a ratio is the median of the
//! rounds' ratios. *reads*: one customer with all views over HTTP, the memory tier off, against webdis with `HGETALL` and against
//! `redis-benchmark` with `HMGET` and no pipeline; batches against pipelined `redis-benchmark`. *publish*: `larder publish` of a million
//! customers against `redis-cli --pipe` fed the very commands that it sends; then with the city of one customer in a hundred changed, and a day later. *memory*: bytes
//! of Redis a customer, by layout. A number behind the word is the number of customers.

#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod memory;
mod publish;
mod reads;
mod redis;
#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "../support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let customers = arguments.get(1).map(|number| number.parse()).transpose()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async move {
        match arguments.first().map(String::as_str) {
            Some("reads") => reads::compare(customers.unwrap_or(20_000)).await,
            Some("publish") => publish::compare(customers.unwrap_or(1_000_000)).await,
            Some("memory") => memory::compare(customers.unwrap_or(100_000)).await,
            _ => anyhow::bail!("say which: reads, publish or memory"),
        }
    })
}
