//! `larder feast-repo`

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{App, table};
use crate::{
    http::feast,
    snapshot::{Manifest, read_current},
};

mod definitions;

/// Write a Feast repository with the views of the current snapshot
///
/// Its online store is a running Larder: after `feast apply` in that folder, Feast's SDK reads from it. An existing
/// `feature_store.yaml` is left as it is, so that a repository of your own can be extended; larder.py is written anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder feast-repo features\n  cd features && feast apply")]
pub(super) struct Args {
    /// The folder of the repository
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where Larder answers, instead of `listen` in the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

const STORE: &str = "feature_store.yaml";
const DEFINITIONS: &str = "larder.py";

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let lake = app.lake()?;
    let current =
        read_current(&lake).await?.context("there is no current snapshot; `larder build` makes one")?;
    let manifest = Manifest::read(&lake, &current.snapshot).await?;
    let misfits = feast::misfits(&app.config.feast, &manifest.views);
    if !misfits.is_empty() {
        bail!("in [feast]: {}", misfits.join("; "));
    }
    let definitions = definitions::python(&manifest, &app.config.feast);
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot make the folder {}", args.folder.display()))?;
    let file = args.folder.join(DEFINITIONS);
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if !found.is_empty() && !found.starts_with(definitions::HEAD) {
        bail!("{} is not of `larder feast-repo`; name another folder", file.display());
    }
    write(&file, &definitions)?;
    let store = args.folder.join(STORE);
    let kept = store.exists();
    let url = args.url.unwrap_or_else(|| url_of(app));
    if !kept {
        write(&store, &definitions::store(&url, !app.config.keys.is_empty()))?;
    }
    let mut rows = Vec::new();
    for view in &manifest.views {
        rows.push(vec![view.name.clone(), "view".to_owned(), table::count(view.features.len() as u64)]);
    }
    for (name, features) in &app.config.feast.services {
        let places = feast::resolve(features, &manifest.views).map_or(0, |places| places.len());
        rows.push(vec![name.clone(), "service".to_owned(), table::count(places as u64)]);
    }
    table::print(&["name", "", "features"], &rows)?;
    let told = if kept {
        format!("{STORE} was there and is as it was")
    } else {
        format!("{STORE} reads from {url}")
    };
    table::line(&format!("\nwrote {}; {told}", file.display()))?;
    Ok(table::line(&format!("next: cd {} && feast apply", args.folder.display()))?)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Where this machine finds what the configuration lets Larder listen on.
fn url_of(app: &App) -> String {
    let mut listen = app.config.http.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if app.config.http.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{listen}")
}
