//! `larder demo`

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};

use super::{App, build, progress, publish, serve, table, upload};
use crate::{
    config::Config,
    demo::{self, Retail},
    lake::Lake,
    publish::{Options, PublishError},
    serving::Serving,
    snapshot::{Manifest, SnapshotId, read_current},
    telemetry::{Metrics, Progress},
};

/// Make up a retail year, build a snapshot of it and serve it
///
/// The same seed gives the same data. What is in the folder already is used again. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder demo --customers 5000 --dir /tmp/larder-demo")]
pub(super) struct Args {
    /// How many customers to make up; lines are 25 a customer
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    customers: u32,
    /// What the made-up data is drawn from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The folder of raw data, lake and configuration
    #[arg(long, default_value = "larder-demo", value_name = "FOLDER")]
    dir: PathBuf,
    /// Address and port to serve on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Build and stop
    #[arg(long)]
    no_serve: bool,
    /// Replace another demo in the folder, and what another lake has in Tair
    #[arg(long)]
    force: bool,
}

/// What a demo folder was made with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    retail: Retail,
    version: String,
}

/// What a demo was made with, in the lake.
const MARKER: &str = "demo.json";

/// The configuration of the demo, as a user would write it.
const CONFIGURATION: &str = "\
# Made by `larder demo`. The files in raw/ have Larder's own column names, so there is nothing to map.
[lake]
url = \"lake\"

[raw.customers]
columns = { created_at = \"signed_up_at\" }
personal = [\"name\", \"email\"]
";

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let retail = Retail {
        customers: args.customers,
        lines: u64::from(args.customers) * 25,
        seed: args.seed,
        compress: true,
    };
    let made = Made { retail, version: env!("CARGO_PKG_VERSION").to_owned() };
    let same = prepare(&args.dir, &made, app.overrides.lake.is_none(), args.force)?;
    let config_file = args.dir.join("larder.toml");
    let mut config = Config::load(Some(&config_file), std::env::vars())?;
    config.http.listen = args.listen;
    app.overrides.apply(&mut config)?;
    let app = App { config, overrides: app.overrides.clone() };
    // Before the work: a port that is taken should not cost a build.
    let listener = if args.no_serve { None } else { Some(serve::listen(&app.config).await?) };
    let lake = app.lake()?;
    let same = if app.overrides.lake.is_some() { found_in(&lake, &made).await? } else { same };
    let manifest = match read_current(&lake).await? {
        Some(current) if same => {
            table::line(&format!("{} has the demo already", args.dir.display()))?;
            if app.config.tair.is_some() {
                // A Tair that was emptied or is another one gets it too; one that has it is left as it is.
                publish(&app, &current.snapshot, args.force).await?;
            }
            Manifest::read(&lake, &current.snapshot).await?
        }
        _ => {
            // First, so that a demo that was not finished is known for one.
            lake.put(&ObjectPath::from(MARKER), serde_json::to_vec(&made)?.into()).await?;
            Box::pin(make(&made.retail, &app, args.force)).await?
        }
    };
    let Some(listener) = listener else {
        let lake = app.overrides.lake.as_ref().map_or(String::new(), |url| format!(" --lake {url}"));
        // Its URL may hold a password.
        let tair = app.overrides.tair.as_ref().map_or("", |_| " --tair …");
        table::line(&format!("\nnext: larder --config {}{lake}{tair} serve", config_file.display()))?;
        return Ok(());
    };
    let address = listener.local_addr()?;
    what_to_try(&lake, &manifest, &format!("http://{address}"), &app).await?;
    serve::serve(listener, lake, &app.config).await
}

/// Whether a lake that is named on the command line has this demo; one with other data is left alone.
async fn found_in(lake: &Lake, made: &Made) -> anyhow::Result<bool> {
    match lake.get(&ObjectPath::from(MARKER)).await {
        Ok(text) => {
            if serde_json::from_slice::<Made>(&text).ok().as_ref() == Some(made) {
                return Ok(true);
            }
            bail!("{} has another demo; name an empty place with --lake", lake.url())
        }
        Err(error) if !error.is_not_found() => Err(error.into()),
        Err(_) if lake.list(&ObjectPath::from("raw")).await?.is_empty() => Ok(false),
        Err(_) => bail!("{} has raw data that is no demo's; name an empty place with --lake", lake.url()),
    }
}

/// Makes the folder one for `made`; tells whether it was that before. Another demo goes where it is to be replaced, and stays where the
/// lake is not in the folder (`local`).
fn prepare(folder: &Path, made: &Made, local: bool, replaces: bool) -> anyhow::Result<bool> {
    let marker = folder.join("demo.json");
    let found = std::fs::read(&marker).ok().and_then(|text| serde_json::from_slice::<Made>(&text).ok());
    if found.as_ref() == Some(made) {
        return Ok(true);
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let empty = std::fs::read_dir(folder)?.next().is_none();
    if !marker.exists() && !empty {
        bail!("{} is not empty and no folder of a demo; name another with --dir", folder.display());
    }
    if marker.exists() && !local {
        return Ok(false);
    }
    if marker.exists() && !replaces {
        let of = found.map_or(String::new(), |found| {
            format!(
                " (--customers {} --seed {}, by Larder {})",
                found.retail.customers, found.retail.seed, found.version
            )
        });
        bail!(
            "{} has another demo{of}; name another folder with --dir, or replace the demo and all else in its lake with --force",
            folder.display()
        );
    }
    let lake = folder.join("lake");
    if lake.exists() {
        std::fs::remove_dir_all(&lake).with_context(|| format!("cannot remove {}", lake.display()))?;
    }
    let wrote = std::fs::write(&marker, serde_json::to_vec(made)?)
        .and_then(|()| std::fs::write(folder.join("larder.toml"), CONFIGURATION));
    wrote.with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(false)
}

async fn make(retail: &Retail, app: &App, replaces: bool) -> anyhow::Result<Manifest> {
    let lake = app.lake()?;
    let folder = tempfile::tempdir()?;
    let watched = Arc::new(Progress::default());
    watched.enter("make up data", 0);
    let generating = {
        let (retail, folder, watched) = (retail.clone(), folder.path().to_path_buf(), Arc::clone(&watched));
        tokio::task::spawn_blocking(move || {
            demo::generate(&retail, &folder, &|done, expected| {
                watched.total.store(expected, Ordering::Relaxed);
                watched.done.store(done, Ordering::Relaxed);
            })
        })
    };
    let files = progress::watch(&watched, generating).await??;
    for file in &files {
        let inside = file.path.strip_prefix(folder.path()).unwrap_or(&file.path);
        let target = ObjectPath::from(format!("raw/{}", inside.display()));
        upload::copy(&lake, &file.path, &target, file.bytes).await?;
    }
    let (lines, bytes) =
        files.iter().fold((0, 0), |(lines, bytes), file| (lines + file.lines, bytes + file.bytes));
    let (lines, bytes) = (table::count(lines), table::bytes(bytes));
    table::line(&format!(
        "made up {lines} lines in {} files, {bytes}, in {}/raw\n",
        files.len(),
        lake.url()
    ))?;
    let built = build::build(app, None).await?;
    build::summary(&built)?;
    publish(app, &built.manifest.id, replaces).await?;
    Ok(built.manifest)
}

async fn publish(app: &App, id: &SnapshotId, replaces: bool) -> anyhow::Result<()> {
    let publisher = app.publisher(Options { force: true, full: replaces, ..Options::default() })?;
    match publish::run(&publisher, Some(id)).await {
        Err(PublishError::OtherLake { snapshot, .. }) => {
            bail!("Tair has {snapshot} of another lake; --force puts the demo in its place")
        }
        published => publish::done(&published?),
    }
}

async fn what_to_try(lake: &Lake, manifest: &Manifest, url: &str, app: &App) -> anyhow::Result<()> {
    let serving = Serving::new(lake.clone(), &app.config.serving, Arc::new(Metrics::new()?));
    let served = serving.snapshot(&manifest.id).await?;
    let best = serving.members(&served, "champions", 0, 2).await?.customers;
    let plain = |id: &&crate::feature::CustomerId| id.as_str().bytes().all(|b| b.is_ascii_alphanumeric());
    let id = best.iter().map(|(_, id)| id).find(plain).map_or("C0000001", |id| id.as_str());
    table::line(&format!(
        "
serving at {url}; to try, in another terminal:

  one customer, all views       curl -s {url}/v1/customers/{id}
  some views                    curl -s '{url}/v1/customers/{id}?views=rfm,behavior'
  many at once                  curl -s {url}/v1/customers/batch -H 'content-type: application/json' -d '{{\"ids\":[\"{id}\",\"nobody\"],\"features\":[\"rfm.segment\"]}}'
  the segments                  curl -s {url}/v1/segments
  the best customers            curl -s '{url}/v1/segments/champions/customers?limit=5&views=rfm'
  who may leave                 curl -s '{url}/v1/churn?risk=high&limit=5&views=churn'
  what next                     curl -s {url}/v1/customers/{id}/recommendations
  what the features mean        curl -s {url}/v1/views
  what it was made from         curl -s {url}/v1/snapshots/{snapshot}
  metrics                       curl -s {url}/metrics
  the contract, in a browser    {url}/docs

Ctrl-C stops it.",
        snapshot = manifest.id,
    ))?;
    Ok(())
}
