//! The documentation against the repository: links, file names, lengths, and the Rust version.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of every Markdown page by its path.
fn pages() -> BTreeMap<PathBuf, String> {
    let folders = [root().to_path_buf(), root().join("docs")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Returns the lines of a page outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Returns the anchors that GitHub makes of the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter_map(|line| line.strip_prefix('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Returns the targets of the links in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    for (page, text) in pages() {
        for link in prose(&text).flat_map(links).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let found = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(found.iter().any(|one| one == anchor), "{}: {link}, of {found:?}", page.display());
            }
        }
    }
}

#[test]
fn named_files_exist() {
    const FOLDERS: [&str; 7] = ["src/", "tests/", "benches/", "docs/", "deploy/", "openapi/", ".github/"];
    for (page, text) in pages() {
        for name in prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder));
            if is_path && !name.contains([' ', '<', '*', '…']) {
                assert!(root().join(name).exists(), "{}: {name}", page.display());
            }
        }
    }
}

#[test]
fn pages_keep_their_length() {
    let pages = pages();
    assert!(pages[&root().join("README.md")].lines().count() <= 200, "README.md is longer than 200 lines");
    for (page, text) in pages {
        for line in prose(&text).filter(|line| !line.starts_with('|')) {
            assert!(line.chars().count() <= 110, "{}: {line}", page.display());
        }
    }
}

#[test]
fn rust_version_is_the_same_everywhere() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(read("rust-toolchain.toml").contains(&format!("channel = \"{version}.")));
    assert!(read("Dockerfile").contains(&format!("FROM rust:{version}-")));
}
