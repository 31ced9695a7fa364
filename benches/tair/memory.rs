//! Bytes of Redis per customer, by layout.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use futures::TryStreamExt;
use larder::{
    feature::elements,
    snapshot::{Manifest, SnapshotFiles},
    tair::{Keys, codec},
};

use crate::{
    redis::{Commands, Redis},
    shop::Shop,
};

type Layout = (&'static str, fn(&mut Commands, &Manifest, &str, &[Option<&str>]) -> anyhow::Result<()>);

/// Larder's layout: a field per view, the values as an array.
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

/// Returns every feature that has a value, with the position of its view.
fn named<'a>(manifest: &Manifest, row: &[Option<&'a str>]) -> Vec<(usize, String, &'a [u8])> {
    let mut all = Vec::new();
    for (at, (view, text)) in manifest.views.iter().zip(row).enumerate() {
        for (feature, value) in
            view.features.iter().zip(text.iter().flat_map(|text| elements(text.as_bytes())))
        {
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

/// Feast's layout, as its SDK writes to Redis: a Hash under a binary key, a field per feature named by a hash
/// of four bytes with the value as a protobuf message, and a time per view.
/// <https://docs.feast.dev/reference/online-stores/redis>
fn feast(out: &mut Commands, manifest: &Manifest, key: &str, row: &[Option<&str>]) -> anyhow::Result<()> {
    const STRING: [u8; 4] = 2_u32.to_le_bytes();
    const JOIN_KEY: &str = "customer_id";
    let id = key.rsplit_once("customer:").map_or(key, |(_, id)| id);
    let length = |text: &str| u32::try_from(text.len()).map(u32::to_le_bytes);
    let mut name = 1_u32.to_le_bytes().to_vec();
    for text in [JOIN_KEY, id] {
        name.extend_from_slice(&STRING);
        name.extend_from_slice(&length(text)?);
        name.extend_from_slice(text.as_bytes());
    }
    name.extend_from_slice(b"larder");
    let mut time = vec![0x08];
    varint(u64::try_from(manifest.as_of.timestamp())?, &mut time);
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (view, text) in manifest.views.iter().zip(row) {
        let Some(text) = text else { continue };
        all.push((format!("_ts:{}", view.name).into_bytes(), time.clone()));
        for (feature, value) in view.features.iter().zip(elements(text.as_bytes())) {
            let hash = crc32fast::hash(format!("{}:{}", view.name, feature.name).as_bytes());
            all.push((
                hash.to_le_bytes().to_vec(),
                protobuf(&serde_json::from_slice(value)?, &feature.data_type)?,
            ));
        }
    }
    let mut parts: Vec<&[u8]> = vec![b"HSET", &name];
    for (field, value) in &all {
        parts.extend([field.as_slice(), value]);
    }
    out.write(&parts)
}

fn varint(number: u64, out: &mut Vec<u8>) {
    let mut rest = number;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            return;
        }
    }
}

/// Encodes a `feast.types.Value`.
fn protobuf(value: &serde_json::Value, data_type: &str) -> anyhow::Result<Vec<u8>> {
    use serde_json::Value;
    let mut out = Vec::new();
    let mut nested = |tag: u8, text: &[u8]| {
        out.push(tag);
        varint(text.len() as u64, &mut out);
        out.extend_from_slice(text);
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => out.extend([0x38, u8::from(*value)]),
        Value::Number(number) if data_type.starts_with("Int") => {
            out.push(0x20);
            varint(number.as_i64().context("a whole number")?.cast_unsigned(), &mut out);
        }
        Value::Number(number) => {
            out.push(0x29);
            out.extend_from_slice(&number.as_f64().context("a number")?.to_le_bytes());
        }
        Value::String(text) if data_type.starts_with("Timestamp") || data_type.starts_with("Date") => {
            let time = chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp());
            let time = time.or_else(|_| {
                text.parse()
                    .map(|day: chrono::NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp())
            });
            out.push(0x40);
            varint(time?.cast_unsigned(), &mut out);
        }
        Value::String(text) => nested(0x12, text.as_bytes()),
        Value::Array(values) if values.iter().any(Value::is_number) => {
            let mut list = vec![0x0A];
            varint(8 * values.len() as u64, &mut list);
            for value in values {
                list.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
            }
            nested(0x7A, &list);
        }
        Value::Array(values) => {
            let mut list = Vec::new();
            for text in values.iter().map(|value| value.as_str().unwrap_or_default()) {
                list.push(0x0A);
                varint(text.len() as u64, &mut list);
                list.extend_from_slice(text.as_bytes());
            }
            nested(0x62, &list);
        }
        Value::Object(_) => anyhow::bail!("Feast has no objects"),
    }
    Ok(out)
}

async fn write(shop: &Shop, file: &Path, layout: &Layout) -> anyhow::Result<()> {
    let mut out = Commands::create(file)?;
    let keys = Keys::new("larder");
    let mut blocks = SnapshotFiles::offline(&shop.lake, &Arc::new(shop.manifest.clone())).rows();
    while let Some(rows) = blocks.try_next().await? {
        for row in 0..rows.len() {
            let texts: Vec<Option<&str>> =
                (0..shop.manifest.views.len()).map(|view| rows.text(row, view)).collect();
            layout.1(&mut out, &shop.manifest, &keys.customer(rows.id(row)), &texts)?;
        }
    }
    out.finish()
}

pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::open(customers).await?;
    let layouts: [Layout; 5] = [
        ("a field per view, its values as an array (Larder's)", arrays),
        ("a field per view, its values with their names", objects),
        ("a field per feature", fields),
        ("a Hash per view, a field per feature", hashes),
        ("Feast's: a field per feature, named by a hash, as protobuf", feast),
    ];
    let features: usize = shop.manifest.views.iter().map(|view| view.features.len()).sum();
    println!(
        "\nBytes of memory per customer in redis-server, {} customers, {features} features in {} views.\n",
        shop.manifest.customers,
        shop.manifest.views.len()
    );
    println!("| layout | bytes per customer | of Larder's |");
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
