//! Bytes of Redis a customer, by layout.

use std::{path::Path, sync::Arc};

use futures::TryStreamExt;
use larder::{
    feature::elements,
    snapshot::{Manifest, scan},
    tair::{Keys, codec},
};

use crate::{
    redis::{Commands, Redis},
    shop::Shop,
};

type Layout = (&'static str, fn(&mut Commands, &Manifest, &str, &[Option<&str>]) -> anyhow::Result<()>);

/// Larder's: a field per view, the values as an array.
fn arrays(out: &mut Commands, manifest: &Manifest, key: &str, row: &[Option<&str>]) -> anyhow::Result<()> {
    let fields: Vec<String> = manifest.views.iter().map(codec::field).collect();
    let mut parts: Vec<&[u8]> = vec![b"HSET", key.as_bytes()];
    for (field, text) in fields.iter().zip(row) {
        parts.extend([field.as_bytes(), text.unwrap_or("null").as_bytes()]);
    }
    parts.extend([codec::PUBLISH.as_bytes(), b"1"]);
    out.write(&parts)
}

/// A field per view, the values with their names.
fn objects(out: &mut Commands, manifest: &Manifest, key: &str, row: &[Option<&str>]) -> anyhow::Result<()> {
    let texts: Vec<(String, Vec<u8>)> = manifest
        .views
        .iter()
        .zip(row)
        .filter_map(|(view, text)| {
            let mut object = Vec::new();
            for (feature, value) in view.features.iter().zip(elements((*text)?.as_bytes())) {
                object.extend_from_slice(if object.is_empty() { b"{" } else { b"," });
                object.extend_from_slice(format!("\"{}\":", feature.name).as_bytes());
                object.extend_from_slice(value);
            }
            object.push(b'}');
            Some((view.name.clone(), object))
        })
        .collect();
    let mut parts: Vec<&[u8]> = vec![b"HSET", key.as_bytes(), codec::PUBLISH.as_bytes(), b"1"];
    for (name, object) in &texts {
        parts.extend([name.as_bytes(), object.as_slice()]);
    }
    out.write(&parts)
}

/// Every feature that has a value, named `view.feature`.
fn named<'a>(manifest: &Manifest, row: &[Option<&'a str>]) -> Vec<(usize, String, &'a [u8])> {
    let mut all = Vec::new();
    for (at, (view, text)) in manifest.views.iter().zip(row).enumerate() {
        for (feature, value) in view.features.iter().zip(text.iter().flat_map(|text| elements(text.as_bytes()))) {
            if value != b"null" {
                all.push((at, feature.name.clone(), value));
            }
        }
    }
    all
}

/// A field per feature.
fn fields(out: &mut Commands, manifest: &Manifest, key: &str, row: &[Option<&str>]) -> anyhow::Result<()> {
    let all: Vec<(String, &[u8])> = named(manifest, row)
        .into_iter()
        .map(|(view, name, value)| (format!("{}.{name}", manifest.views[view].name), value))
        .collect();
    let mut parts: Vec<&[u8]> = vec![b"HSET", key.as_bytes(), codec::PUBLISH.as_bytes(), b"1"];
    for (name, value) in &all {
        parts.extend([name.as_bytes(), value]);
    }
    out.write(&parts)
}

/// A Hash per view.
fn hashes(out: &mut Commands, manifest: &Manifest, key: &str, row: &[Option<&str>]) -> anyhow::Result<()> {
    let all = named(manifest, row);
    for (at, view) in manifest.views.iter().enumerate() {
        let key = format!("{key}:{}", view.name);
        let mut parts: Vec<&[u8]> = vec![b"HSET", key.as_bytes(), codec::PUBLISH.as_bytes(), b"1"];
        for (_, name, value) in all.iter().filter(|(of, ..)| *of == at) {
            parts.extend([name.as_bytes(), value]);
        }
        out.write(&parts)?;
    }
    Ok(())
}

async fn write(shop: &Shop, file: &Path, layout: &Layout) -> anyhow::Result<()> {
    let mut out = Commands::create(file)?;
    let keys = Keys::new("larder");
    let mut blocks = scan::rows(&shop.lake, &Arc::new(shop.manifest.clone()));
    while let Some(rows) = blocks.try_next().await? {
        for row in 0..rows.len() {
            let texts: Vec<Option<&str>> = (0..shop.manifest.views.len()).map(|view| rows.text(row, view)).collect();
            layout.1(&mut out, &shop.manifest, &keys.customer(rows.id(row)), &texts)?;
        }
    }
    out.finish()
}

pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::open(customers).await?;
    let layouts: [Layout; 4] = [
        ("a field per view, its values as an array (Larder's)", arrays),
        ("a field per view, its values with their names", objects),
        ("a field per feature", fields),
        ("a Hash per view, a field per feature", hashes),
    ];
    let features: usize = shop.manifest.views.iter().map(|view| view.features.len()).sum();
    println!(
        "\nBytes of memory a customer in redis-server, {} customers, {features} features in {} views.\n",
        shop.manifest.customers,
        shop.manifest.views.len()
    );
    println!("| layout | bytes a customer | of Larder's |");
    println!("|---|---:|---:|");
    let mut first = None;
    for layout in &layouts {
        let redis = Redis::start()?;
        let empty = redis.memory()?;
        let file = shop.folder.path().join("commands");
        write(&shop, &file, layout).await?;
        redis.pipe(&file)?;
        let bytes = (redis.memory()? - empty) / shop.manifest.customers as f64;
        let base = *first.get_or_insert(bytes);
        println!("| {} | {bytes:.0} | {:.2} |", layout.0, bytes / base);
    }
    Ok(())
}
