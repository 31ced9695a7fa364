//! Conventions of the source code: layers, imports without cycles, one module per library, and the form of
//! files and comments.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use imports::{cycles, paths, without_comments};

mod imports;

/// A Rust source file of this repository.
struct SourceFile {
    /// Path relative to the folder it was searched in: `http/problem.rs`.
    path: String,
    text: String,
}

/// Reads all Rust files below `folder`, a path relative to the repository.
fn rust_files(folder: &str) -> Vec<SourceFile> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let file = |path: PathBuf| SourceFile {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(&root).unwrap().display().to_string(),
    };
    paths.into_iter().map(file).collect()
}

/// Reads the Rust files of the library, the tests, the benchmarks and the fuzz targets, with paths relative
/// to the repository.
fn all_rust_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        let found = rust_files(folder).into_iter();
        files.extend(found.map(|file| SourceFile { path: format!("{folder}/{}", file.path), ..file }));
    }
    // `cargo fuzz build` leaves a target folder of its own.
    files.retain(|file| !file.path.starts_with("fuzz/target/"));
    files
}

/// Fails with one line per violation.
fn assert_none(rule: &str, violations: &[String]) {
    let count = violations.len();
    assert!(violations.is_empty(), "{rule}: {count} violations\n{}", violations.join("\n"));
}

/// Returns the top-level module of a file in `src`: `http` for `http/problem.rs`.
fn top_module(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Layers from the lowest up. A module imports from lower layers only, and not from its neighbors.
const LAYERS: &[&[&str]] = &[
    &["feature", "config", "workers", "cache", "private_file", "open_files", "causes"],
    &["telemetry", "demo"],
    &["lake", "views", "tair", "audience", "feast"],
    &["snapshot"],
    &["pipeline", "publish", "serving"],
    &["http"],
    &["cli"],
];

/// Returns the position of a module in [`LAYERS`]; `main` and `lib` are above all of them.
fn layer(module: &str) -> Option<usize> {
    let layer = LAYERS.iter().position(|modules| modules.contains(&module));
    if ["main", "lib", "fuzzing"].contains(&module) { Some(LAYERS.len()) } else { layer }
}

#[test]
fn modules_import_only_from_lower_layers() {
    let mut violations = Vec::new();
    for SourceFile { path, text } in rust_files("src") {
        let here = top_module(&path);
        let own_layer = layer(here).unwrap_or_else(|| panic!("{here} is missing in LAYERS"));
        for import in paths(&without_comments(&text)) {
            if import[0] == "crate"
                && let Some(module) = import.get(1)
                && let Some(imported) = layer(module)
                && module != here
                && imported >= own_layer
            {
                violations.push(format!("{path} imports {module}, which is not in a lower layer"));
            }
        }
    }
    assert_none("modules import only from lower layers", &violations);
}

/// The list or table in the documentation of `lib.rs` has one item per layer, which names the modules of the
/// layer.
#[test]
fn layers_are_those_of_the_crate_documentation() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let is_module = |word: &str| text.contains(&format!("pub mod {word};"));
    let mut documented: Vec<BTreeSet<&str>> = Vec::new();
    let mut in_item = false;
    for line in text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim) {
        if line.starts_with("- ") || line.starts_with("| ") {
            documented.push(BTreeSet::new());
            in_item = true;
        } else if line.is_empty() {
            in_item = false;
        }
        if in_item && let Some(modules) = documented.last_mut() {
            modules.extend(line.split('`').skip(1).step_by(2).filter(|word| is_module(word)));
        }
    }
    documented.retain(|modules| !modules.is_empty());
    let expected: Vec<BTreeSet<&str>> =
        LAYERS.iter().map(|modules| modules.iter().copied().collect()).collect();
    assert_eq!(documented, expected);
}

/// Groups of sibling modules that still import each other: the parent module and the group.
const KNOWN_CYCLES: &[(&str, &[&str])] = &[];

#[test]
fn sibling_modules_do_not_import_each_other() {
    let files = rust_files("src").into_iter().map(|file| (file.path, file.text)).collect();
    let mut violations = Vec::new();
    for cycle in cycles(&files) {
        let known = KNOWN_CYCLES.iter().any(|(parent, modules)| {
            *parent == cycle.parent && cycle.modules.iter().all(|module| modules.contains(&module.as_str()))
        });
        if !known {
            violations.push(format!("{}: {}", cycle.parent, cycle.imports.join(", ")));
        }
    }
    assert_none("sibling modules do not import each other", &violations);
}

#[test]
fn each_library_is_used_by_one_module() {
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
    let mut violations = Vec::new();
    for SourceFile { path, text } in rust_files("src") {
        let code = without_comments(&text);
        for (word, modules) in owners {
            if code.contains(word) && !modules.contains(&top_module(&path)) {
                violations.push(format!("{path} uses {word}, which only {modules:?} may use"));
            }
        }
    }
    assert_none("each library is used by one module", &violations);
}

#[test]
fn files_begin_with_documentation() {
    let mut violations = Vec::new();
    for SourceFile { path, text } in all_rust_files() {
        if !text.starts_with("//!") && !text.starts_with("#![no_main]\n//!") {
            violations.push(path);
        }
    }
    assert_none("files begin with //!", &violations);
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "types", "helpers", "misc", "mod"];
    let mut violations = Vec::new();
    for SourceFile { path, text } in rust_files("src") {
        let lines = text.lines().count();
        if lines > 450 {
            violations.push(format!("{path} has {lines} lines"));
        }
        let name = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        if EMPTY_NAMES.contains(&name) {
            violations.push(format!("{path} is not named for what it holds"));
        }
    }
    assert_none("files are short and named for what they hold", &violations);
}

#[test]
fn lines_have_at_most_110_characters() {
    let mut violations = Vec::new();
    for SourceFile { path, text } in all_rust_files() {
        for (number, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if width > 110 {
                violations.push(format!("{path}:{}: {width} characters", number + 1));
            }
        }
    }
    assert_none("lines have at most 110 characters", &violations);
}

/// First words that leave the subject of a comment unnamed.
const VAGUE_WORDS: [&str; 12] = [
    "What",
    "Who",
    "Whom",
    "Whose",
    "Whoever",
    "Nobody",
    "Everybody",
    "Somebody",
    "Anybody",
    "Nothing",
    "Those",
    "Them",
];

#[test]
fn comments_begin_with_a_verb_or_a_noun() {
    let mut violations = Vec::new();
    for SourceFile { path, text } in all_rust_files() {
        let mut continues = false;
        for (number, line) in text.lines().enumerate() {
            let comment =
                line.trim_start().strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!']));
            if let Some(comment) = comment.map(str::trim)
                && !continues
                && let Some(first) = comment.split(|c: char| !c.is_alphanumeric()).next()
                && VAGUE_WORDS.contains(&first)
            {
                violations.push(format!("{path}:{}: {comment}", number + 1));
            }
            // The line after an empty one begins a paragraph.
            continues = comment.is_some_and(|comment| !comment.trim().is_empty());
        }
    }
    assert_none("comments begin with a verb or a noun", &violations);
}

#[test]
fn no_test_is_ignored() {
    let violations: Vec<String> = all_rust_files()
        .into_iter()
        .filter(|file| file.text.contains(concat!("#[", "ignore")))
        .map(|file| file.path)
        .collect();
    assert_none("no test is ignored", &violations);
}

/// A file that no `mod` declares is not compiled, and its tests do not run.
#[test]
fn every_file_is_declared_as_a_module() {
    let mut violations = Vec::new();
    for (folder, roots) in [("src", &["lib.rs", "main.rs"][..]), ("tests/it", &["main.rs"])] {
        let files: BTreeMap<String, String> =
            rust_files(folder).into_iter().map(|file| (file.path, file.text)).collect();
        for path in files.keys().filter(|path| !roots.contains(&path.as_str())) {
            let path_without_extension = path.trim_end_matches(".rs");
            let (parents, name) = match path_without_extension.rsplit_once('/') {
                Some((parent, name)) => (vec![format!("{parent}.rs")], name),
                None => (roots.iter().map(ToString::to_string).collect(), path_without_extension),
            };
            let declared = |parent: &String| {
                files.get(parent).is_some_and(|text| {
                    text.lines().any(|line| {
                        line.strip_suffix(&format!("mod {name};"))
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with("pub"))
                    })
                })
            };
            if !parents.iter().any(declared) {
                violations.push(format!("{folder}/{path}"));
            }
        }
    }
    assert_none("every file is declared as a module", &violations);
}
