//! Raw data cases: each file of `tests/raw` is one kind of input with the expected result of the build.
//!
//! A case has several files, each after a line `--- NAME`: `larder.toml`, raw files such as
//! `transactions/a.csv`, and `expect.toml`. After the name of a raw file, ` escaped` means that `\r`, `\t`,
//! `\\` and `\xNN` stand for bytes. Keys of `expect.toml`:
//!
//! - `error`: words of the error message. If absent, the build succeeds and the other keys apply.
//! - `customers`, `as_of`, `lines.TABLE` (`lines`, `physical_lines`, `duplicates` and fates),
//!   `amounts.TABLE`, `bad` (words of causes and examples), `warnings` (all kinds of warnings),
//!   `values.ID` (`view.feature = value`, and `null = […]` for nulls), `absent` (ids).

use std::{collections::BTreeSet, path::Path};

use futures::StreamExt;
use larder::pipeline::Built;
use serde::Deserialize;
use serde_json::Value;

use crate::support::shop::{NO_MODELS, Service, Shop};

#[cfg(feature = "delta")]
mod delta;
mod formats;
mod parquet;
mod variations;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expected {
    error: Vec<String>,
    customers: Option<u64>,
    as_of: Option<String>,
    lines: std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>,
    amounts: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    bad: Vec<String>,
    warnings: Vec<String>,
    values: std::collections::BTreeMap<String, toml::Table>,
    absent: Vec<String>,
}

struct Case {
    name: String,
    toml: String,
    files: Vec<(String, Vec<u8>)>,
    expected: Expected,
}

impl Case {
    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let mut case = Self { name, toml: String::new(), files: Vec::new(), expected: Expected::default() };
        let mut seen = false;
        for part in text.split("--- ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap();
            match head.trim() {
                "larder.toml" => body.clone_into(&mut case.toml),
                "expect.toml" => {
                    case.expected =
                        toml::from_str(body).unwrap_or_else(|error| panic!("{}: {error}", case.name));
                    seen = true;
                }
                file => match file.strip_suffix(" escaped") {
                    Some(file) => case.files.push((file.to_owned(), unescaped(body))),
                    None => case.files.push((file.to_owned(), body.as_bytes().to_vec())),
                },
            }
        }
        assert!(seen, "{}: there is no expect.toml", case.name);
        case
    }

    /// Runs the case and returns the differences from the expected result.
    async fn run(&self) -> Vec<String> {
        let shop = Shop::new(&format!("{}\n{NO_MODELS}", self.toml));
        for (name, content) in &self.files {
            shop.raw(name, content);
        }
        let mut wrong = Vec::new();
        let built = match (shop.try_build(None).await, self.expected.error.as_slice()) {
            (Ok(built), []) => built,
            (Ok(built), _) => return vec![format!("the build succeeded: {:?}", built.manifest.counts)],
            (Err(error), []) => return vec![format!("the build failed: {error}")],
            (Err(error), words) => {
                let missing = words.iter().filter(|word| !error.contains(*word));
                wrong.extend(missing.map(|word| format!("`{word}` is not in: {error}")));
                if !shop.snapshot_folders().is_empty() {
                    wrong.push("the build left a snapshot".to_owned());
                }
                return wrong;
            }
        };
        wrong.extend(self.check_manifest(&built));
        shop.publish(&built.manifest.id).await;
        wrong.extend(self.check_customers(&shop.serve().await).await);
        wrong
    }

    /// Returns the differences of the manifest from the expected result.
    fn check_manifest(&self, built: &Built) -> Vec<String> {
        let (expected, mut wrong) = (&self.expected, Vec::new());
        let mut same = |what: String, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{what} is {found}, expected {expected}"));
            }
        };
        let manifest = &built.manifest;
        if let Some(customers) = expected.customers {
            same("customers".to_owned(), manifest.customers.to_string(), customers.to_string());
        }
        if let Some(as_of) = &expected.as_of {
            same("as_of".to_owned(), larder::snapshot::rfc3339::format(manifest.as_of), as_of.clone());
        }
        for (table, numbers) in &expected.lines {
            let counts = manifest.counts.get(table).cloned().unwrap_or_default();
            for (name, number) in numbers {
                let found = match name.as_str() {
                    "lines" => counts.lines,
                    "physical_lines" => counts.physical_lines,
                    "duplicates" => counts.duplicates,
                    fate => counts.fates.get(fate).copied().unwrap_or(0),
                };
                same(format!("{table}.{name}"), found.to_string(), number.to_string());
            }
            let fates: u64 = counts.fates.values().sum();
            same(format!("the sum of the fates of {table}"), fates.to_string(), counts.lines.to_string());
        }
        for (table, sums) in &expected.amounts {
            for (fate, sum) in sums {
                let found = manifest.counts.get(table).and_then(|counts| counts.amounts.get(fate)).cloned();
                same(format!("the amount of {table}.{fate}"), found.unwrap_or_default(), sum.clone());
            }
        }
        let causes: Vec<String> = manifest
            .counts
            .values()
            .flat_map(|counts| &counts.bad_causes)
            .flat_map(|cause| [cause.cause.clone()].into_iter().chain(cause.examples.clone()))
            .collect();
        for words in &expected.bad {
            let found = causes.iter().any(|cause| cause.contains(words));
            same(
                format!("whether bad lines say `{words}` ({causes:?})"),
                found.to_string(),
                "true".to_owned(),
            );
        }
        let kinds = |kinds: BTreeSet<&str>| kinds.into_iter().collect::<Vec<_>>().join(", ");
        let found = manifest.warnings.iter().map(|warning| warning.kind.as_str()).collect();
        same(
            format!("the warnings ({:?})", built.warnings()),
            kinds(found),
            kinds(expected.warnings.iter().map(String::as_str).collect()),
        );
        wrong
    }

    /// Requests the customers of the case and returns the differences from the expected features.
    async fn check_customers(&self, service: &Service) -> Vec<String> {
        let (expected, mut wrong) = (&self.expected, Vec::new());
        let mut same = |what: String, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{what} is {found}, expected {expected}"));
            }
        };
        for (id, values) in &expected.values {
            let path = format!(
                "/v1/customers/{}",
                url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>()
            );
            let answer = service.get(&path.replace('+', "%20")).await;
            let views = if answer.status == 200 { answer.json()["views"].clone() } else { Value::Null };
            for (feature, value) in values {
                let at = |feature: &str| {
                    let (view, column) = feature.split_once('.').unwrap();
                    views[view].get(column).cloned()
                };
                if feature == "null" {
                    for feature in value.as_array().unwrap() {
                        let feature = feature.as_str().unwrap();
                        same(
                            format!("{feature} of {id}"),
                            format!("{:?}", at(feature)),
                            format!("{:?}", Some(Value::Null)),
                        );
                    }
                } else {
                    let value = serde_json::to_value(value).unwrap();
                    same(
                        format!("{feature} of {id}"),
                        format!("{:?}", at(feature)),
                        format!("{:?}", Some(value)),
                    );
                }
            }
        }
        for id in &expected.absent {
            let path = format!(
                "/v1/customers/{}",
                url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>()
            );
            same(
                format!("the status of {id}"),
                service.get(&path).await.status.to_string(),
                "404".to_owned(),
            );
        }
        wrong
    }
}

/// Decodes the escapes of a raw file.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (kind, after) = rest.split_first().unwrap();
        rest = after;
        bytes.push(match kind {
            b'r' => b'\r',
            b't' => b'\t',
            b'n' => b'\n',
            b'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => *other,
        });
    }
    bytes
}

#[tokio::test]
async fn raw_data_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raw");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 50, "only {} cases in {}", paths.len(), folder.display());
    let only = std::env::var("RAW_CASE").ok();
    paths.retain(|path| only.as_ref().is_none_or(|only| path.to_string_lossy().contains(only.as_str())));
    let results = futures::stream::iter(paths).map(async |path| {
        let case = Case::read(&path);
        let running = tokio::time::timeout(crate::support::shop::PATIENCE, case.run());
        (case.name.clone(), running.await.unwrap_or_else(|_| vec!["timed out".to_owned()]))
    });
    let results: Vec<(String, Vec<String>)> = results.buffer_unordered(4).collect().await;
    let wrong: Vec<String> = results
        .iter()
        .flat_map(|(name, wrong)| wrong.iter().map(move |what| format!("{name}: {what}")))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn endless_json_line_is_refused_with_its_place() {
    let shop = Shop::new(NO_MODELS);
    let endless = format!("{{}}\n{{\"customer_id\":\"{}\n", "a".repeat(64 << 20));
    shop.raw("transactions/a.jsonl", endless);
    let error = shop.try_build(None).await.expect_err("a line without end");
    assert!(
        error.contains("a.jsonl, after line 1: cannot be read: the next line is longer than 64 MiB"),
        "{error}"
    );
}

#[cfg(not(feature = "delta"))]
#[tokio::test]
async fn delta_table_without_its_reader_is_refused_with_the_remedy() {
    let shop = Shop::new(NO_MODELS);
    shop.raw("transactions/part-0.csv", "customer_id\n");
    shop.raw("transactions/_delta_log/00000000000000000000.json", "{}");
    let error = shop.try_build(None).await.unwrap_err();
    assert!(error.contains("raw/transactions is a Delta table that cannot be read"), "{error}");
    assert!(error.contains("build Larder with `--features delta`"), "{error}");
}
