//! The files of the console over HTTP, and the rules for their sources.

use std::{collections::BTreeMap, fs};

use crate::{
    console::repository,
    support::shop::{corners, corners_with},
};

#[tokio::test]
async fn page_is_checked_with_each_visit_and_its_files_are_kept_for_good() {
    let service = corners().open().await;
    let page = service.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self' 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let tag = service.client.get(format!("{}/", service.url)).header("if-none-match", page.header("etag"));
    assert_eq!(service.send(tag).await.status, 304);
    let names: Vec<&str> = page.text.split('"').filter(|part| part.starts_with("/console/")).collect();
    let hashed: Vec<&&str> =
        names.iter().filter(|name| name.rsplit_once('-').is_some_and(|(_, end)| end.len() > 12)).collect();
    assert!(hashed.len() > 40, "{names:?}");
    for name in hashed {
        let file = service.get(name).await;
        assert_eq!(
            (file.status, file.header("cache-control")),
            (200, "public, max-age=31536000, immutable"),
            "{name}"
        );
        assert!(!file.text.is_empty() && !file.header("etag").is_empty(), "{name}");
    }
    for path in ["/console/app.js", "/console/", "/console", "/console/app-000000000000.js", "/index.html"] {
        assert_eq!(service.get(path).await.problem(), "path-not-found", "{path}");
    }
    let request = service.client.post(format!("{}/", service.url));
    assert_eq!(service.send(request).await.problem(), "method-not-allowed");
}

#[tokio::test]
async fn console_can_be_switched_off_and_knows_whether_there_is_documentation() {
    let service = corners_with("[http]\nconsole = false\n").open().await;
    assert_eq!(service.get("/").await.problem(), "path-not-found");
    assert_eq!(service.get("/v1/segments").await.status, 200);
    let service = corners_with("[http]\ndocs = false\n").open().await;
    assert!(service.get("/").await.text.contains("<html data-docs=\"false\""));
    assert!(!corners().open().await.get("/").await.text.contains("data-docs"));
}

/// Returns the texts of a language: key and text of each line `key: "text",`.
fn texts(language: &str) -> BTreeMap<String, String> {
    let file = fs::read_to_string(repository("console/i18n").join(format!("{language}.js"))).unwrap();
    // A long text has a line of its own.
    let file = file.replace(":\n        \"", ": \"");
    let line = |line: &str| {
        let (key, text) = line.trim().strip_suffix("\",")?.split_once(": \"")?;
        Some((key.trim_matches('"').to_owned(), text.to_owned()))
    };
    file.lines().filter_map(line).collect()
}

/// Returns the names in braces of a text, in order.
fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn translations_have_every_text_with_the_same_values() {
    let (english, chinese) = (texts("en"), texts("zh"));
    assert!(english.len() > 300, "{}", english.len());
    for (key, text) in &english {
        let translated = chinese.get(key).unwrap_or_else(|| panic!("zh.js has no `{key}`"));
        assert_eq!(names(text), names(translated), "{key}");
    }
}

#[test]
fn sources_have_short_lines_and_begin_with_a_comment() {
    let mut checked = 0;
    for folder in ["", "i18n", "lib", "pages", "parts", "style"] {
        for entry in fs::read_dir(repository("console").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if !["js", "css"].contains(&extension) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("// ") || text.starts_with("/* "), "{path:?}");
            let most = if folder == "i18n" || extension == "css" { 600 } else { 450 };
            assert!(text.lines().count() <= most, "{path:?}");
            for (number, line) in text.lines().enumerate() {
                assert!(line.chars().count() <= 110, "{path:?}:{}", number + 1);
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
