//! The rules of the house, read from the sources: who may import whom, and how files look.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let named = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().display().to_string(), text)
    };
    found.into_iter().map(named).collect()
}

/// The room of the top storey that a file belongs to: `http/segments.rs` is of `http`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The storeys from the ground up. A room imports from lower storeys only, and not from its own.
const STOREYS: &[&[&str]] = &[
    &["feature", "config", "workers", "cache"],
    &["telemetry", "demo"],
    &["lake", "views", "tair", "audience"],
    &["snapshot"],
    &["pipeline", "publish", "serving"],
    &["http"],
    &["cli"],
    &["main", "lib"],
];

fn storey(room: &str) -> usize {
    STOREYS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} has no storey"))
}

/// The rooms that a text imports by `crate::…`, in a list or one by one.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let text = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    let first = |word: String| word.trim().split("::").next().unwrap_or_default().trim().to_owned();
    found.into_iter().map(first).filter(|word| !word.is_empty()).collect()
}

#[test]
fn imports_go_down_only() {
    for (file, text) in sources() {
        let here = room(&file);
        for room in imports(&text) {
            if room != here && STOREYS.iter().any(|rooms| rooms.contains(&room.as_str())) {
                assert!(storey(&room) < storey(here), "{file} imports {room}, which is not below it");
            }
        }
    }
    assert_eq!(imports("use crate::{a::{b, c}, d}; crate::e::f"), ["a", "d", "e"]);
}

#[test]
fn each_library_has_one_room() {
    let owners: &[(&str, &[&str])] = &[
        ("axum::", &["http"]),
        ("StatusCode", &["http"]),
        ("fred::", &["tair"]),
        ("aws_sdk_s3::", &["lake"]),
        ("datafusion::", &["pipeline"]),
        ("clap::", &["cli"]),
        ("anyhow::", &["cli", "main", "demo"]),
        ("std::env::var", &["cli"]),
    ];
    for (file, text) in sources() {
        for (word, rooms) in owners {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used || rooms.contains(&room(&file)), "{file} uses {word}, which is for {rooms:?}");
        }
    }
}

#[test]
fn files_say_what_they_are_for_and_stay_small() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} does not open with //!");
        assert!(text.lines().count() <= 450, "{file} is two rooms");
        let name = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "common", "types", "helpers", "misc", "mod"].contains(&name),
            "{file}: a name that says nothing"
        );
    }
}

#[test]
fn every_test_runs() {
    for (file, text) in sources() {
        assert!(!text.contains(concat!("#[", "ignore")), "{file} has an ignored test");
    }
}
