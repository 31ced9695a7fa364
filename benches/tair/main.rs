//! Benchmarks of the Tair tier: `cargo bench --bench tair -- reads | publish | memory`, then the number of
//! customers.
//!
//! redis-server takes the place of Tair. Load generators and servers share the machine's cores. The Debian
//! packages `redis-server`, `redis-tools`, `webdis` and `wrk` provide the tools. All contestants alternate in
//! one run, and a ratio is the median of the rounds' ratios.
//!
//! - *reads*: one customer with all views over HTTP without the memory tier, over each kind of connection,
//!   against webdis with `HGETALL` and `redis-benchmark` with `HMGET`; batches against pipelined
//!   `redis-benchmark`; and Larder's own client against `fred`.
//! - *publish*: `larder publish` of a million customers against `redis-cli --pipe` with the same commands;
//!   then with the city of one customer in a hundred changed, and a day later, with models and without.
//! - *memory*: bytes of Redis per customer, by layout.

#![expect(clippy::print_stdout, reason = "a benchmark prints a table")]
#![expect(clippy::cast_precision_loss, reason = "the figures are approximate")]

mod client;
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

/// Allocator of the binary.
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
            Some("publish") => Box::pin(publish::compare(customers.unwrap_or(1_000_000))).await,
            Some("memory") => memory::compare(customers.unwrap_or(100_000)).await,
            _ => anyhow::bail!("usage: reads | publish | memory [customers]"),
        }
    })
}
