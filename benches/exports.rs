//! Compares Parquet exports with CSV exports of the same members: `cargo bench --bench exports --
//! [CUSTOMERS] [COLUMNS]`.
//!
//! The customers have many columns of their own, of which half repeat few values and half are distinct. Both
//! exports run in process, in turns, to the last byte. Figures are medians of the rounds, and the ratio is
//! the median of the ratios per round.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{fmt::Write as _, path::Path, sync::Arc, time::Instant};

use anyhow::ensure;
use futures::StreamExt;
use larder::{
    audience::{Expression, FeatureName},
    config::{Config, ServingConfig},
    lake::Lake,
    pipeline,
    publish::{Options, Publisher},
    serving::{
        Ranked, Served, Serving,
        export::{
            CsvForm, Export, ExportColumns, ExportFormat, ExportList, ExportOrder, ExportRows, PersonalValues,
        },
    },
    telemetry::{Metrics, Progress},
};

#[path = "support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;

use shop::{Dice, quantile};

const CUSTOMERS: usize = 20_000;
const COLUMNS: usize = 400;
const ROUNDS: usize = 5;
const CONFIG: &str = "[churn]\nenabled = false\n[recommendations]\nenabled = false\n";

fn main() -> anyhow::Result<()> {
    let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let numbers: Vec<usize> = arguments.map(|number| number.parse()).collect::<Result<_, _>>()?;
    let customers = numbers.first().copied().unwrap_or(CUSTOMERS);
    let columns = numbers.get(1).copied().unwrap_or(COLUMNS);
    tokio::runtime::Runtime::new()?.block_on(compare(customers, columns))
}

async fn compare(customers: usize, columns: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    generate(&folder.path().join("lake").join("raw"), customers, columns)?;
    let mut config = Config::parse(CONFIG, "the benchmark", [])?;
    config.base = folder.path().to_path_buf();
    let lake = Lake::open(&config.lake, &config.base)?;
    let manifest = pipeline::build(&lake, &config, None, &Progress::default()).await?.manifest;
    Publisher::new(lake.clone(), None, Options::default()).publish(Some(&manifest.id)).await?;
    let serving = Serving::new(lake, &ServingConfig::default(), Arc::new(Metrics::new()?));
    let served = serving.snapshot(&manifest.id).await?;
    println!("| customers | columns | members | CSV s | Parquet s | Parquet / CSV | CSV MB | Parquet MB |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for share in [100, 40, 1] {
        let limit = (customers * share / 100).max(1);
        let (mut csv, mut parquet, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (mut csv_bytes, mut parquet_bytes) = (0, 0);
        for _ in 0..ROUNDS {
            let text = export(&serving, &served, ExportFormat::Csv, limit).await?;
            let typed = export(&serving, &served, ExportFormat::Parquet, limit).await?;
            (csv_bytes, parquet_bytes) = (text.bytes, typed.bytes);
            ratios.push(typed.seconds / text.seconds);
            csv.push(text.seconds);
            parquet.push(typed.seconds);
        }
        println!(
            "| {customers} | {columns} | {limit} | {:.2} | {:.2} | {:.2} | {} | {} |",
            quantile(&mut csv, 0.5)?,
            quantile(&mut parquet, 0.5)?,
            quantile(&mut ratios, 0.5)?,
            csv_bytes / 1_000_000,
            parquet_bytes / 1_000_000,
        );
    }
    Ok(())
}

/// Duration and size of an export.
struct Exported {
    seconds: f64,
    bytes: usize,
}

/// Exports the `limit` customers that spent most, with all columns.
async fn export(
    serving: &Serving,
    served: &Arc<Served>,
    format: ExportFormat,
    limit: usize,
) -> anyhow::Result<Exported> {
    let members = Ranked {
        expression: Expression::parse("rfm.monetary >= 0")?,
        order_by: (FeatureName::new("rfm", "monetary"), true),
        limit: Some(limit as u64),
    };
    let export = Export {
        list: ExportList::Audience(members),
        columns: ExportColumns::all(&served.manifest, PersonalValues::Shown, ExportRows::Members),
        format,
        order: ExportOrder::Id,
        csv: CsvForm::default(),
    };
    let begun = Instant::now();
    let mut exporting = serving.export(served, export).await?;
    ensure!(exporting.rows == limit as u64, "the export has {} rows", exporting.rows);
    let mut bytes = 0;
    while let Some(piece) = exporting.next().await {
        bytes += piece?.len();
    }
    Ok(Exported { seconds: begun.elapsed().as_secs_f64(), bytes })
}

/// Writes raw files of `customers` customers with `columns` columns.
fn generate(raw: &Path, customers: usize, columns: usize) -> anyhow::Result<()> {
    let mut dice = Dice::new();
    let mut lines = String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at\n");
    let mut people = String::from("customer_id");
    for column in 0..columns {
        write!(people, ",attribute_{column}")?;
    }
    people.push('\n');
    for customer in 0..customers {
        let (product, price, day) = (dice.below(50), dice.below(100), dice.below(28) + 1);
        writeln!(lines, "c{customer:07},o{customer},p{product},1,{price}.50,2024-06-{day:02} 10:00:00")?;
        write!(people, "c{customer:07}")?;
        for column in 0..columns {
            match column % 4 {
                0 => write!(people, ",{}", dice.below(10_000))?,
                1 => write!(people, ",0.{:03}", dice.below(1_000))?,
                2 => write!(people, ",{}", ["red", "green", "blue"][dice.below(3)])?,
                _ => write!(people, ",v{:06x}", dice.below(1 << 24))?,
            }
        }
        people.push('\n');
    }
    for (table, text) in [("transactions", lines), ("customers", people)] {
        std::fs::create_dir_all(raw.join(table))?;
        std::fs::write(raw.join(table).join("all.csv"), text)?;
    }
    Ok(())
}
