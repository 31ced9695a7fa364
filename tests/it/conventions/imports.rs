//! Imports between the modules of a crate, read from its source text.

use std::collections::{BTreeMap, BTreeSet};

/// Path segments: `["crate", "lake", "Lake"]`.
type Segments = Vec<String>;

/// Drops comment lines and the unit tests at the end of a file.
pub(super) fn without_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    lines.join("\n")
}

/// Returns every path in `code` that begins with `crate`, `super` or `self`; lists in braces are expanded.
pub(super) fn paths(code: &str) -> Vec<Segments> {
    let mut found = Vec::new();
    for word in ["crate", "super", "self"] {
        for (at, _) in code.match_indices(&format!("{word}::")) {
            let before = code[..at].chars().next_back();
            // `super::super::x` is read from its first segment.
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                expand(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Expands the path or `use` tree at the start of `text` into `found`, and returns the text behind it.
fn expand<'a>(mut text: &'a str, prefix: &[String], found: &mut Vec<Segments>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut is_self = false;
    loop {
        text = text.trim_start();
        if let Some(mut rest) = text.strip_prefix('{') {
            loop {
                rest = expand(rest, &path, found).trim_start();
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => return rest.strip_prefix('}').unwrap_or(rest),
                }
            }
        }
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        match &text[..end] {
            "" => {}
            "self" if !path.is_empty() => is_self = true,
            name => path.push(name.to_owned()),
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    let is_glob = text.starts_with('*');
    if path.len() > prefix.len() || is_glob || is_self {
        found.push(path);
    }
    text.trim_start_matches('*')
}

/// The modules of a crate: the segments of each below the crate's root, and the code.
struct Modules {
    code: BTreeMap<Segments, String>,
    /// Names that a module imports, with the absolute path of each: a child imports such a name by way of
    /// `super`.
    imported_names: BTreeMap<Segments, BTreeMap<String, Segments>>,
}

impl Modules {
    fn new(files: &BTreeMap<String, String>) -> Self {
        let mut code = BTreeMap::new();
        for (path, text) in files {
            let path = path.trim_end_matches(".rs");
            if path != "lib" && path != "main" {
                code.insert(path.split('/').map(str::to_owned).collect::<Segments>(), without_comments(text));
            }
        }
        let mut modules = Self { code, imported_names: BTreeMap::new() };
        let all: Vec<Segments> = modules.code.keys().cloned().collect();
        for module in &all {
            let mut names = BTreeMap::new();
            for (at, _) in modules.code[module].match_indices("use ") {
                let mut found = Vec::new();
                expand(&modules.code[module][at + "use ".len()..], &[], &mut found);
                for path in found {
                    let (Some(name), Some(absolute)) = (path.last(), modules.absolute(module, &path)) else {
                        continue;
                    };
                    names.insert(name.clone(), absolute);
                }
            }
            modules.imported_names.insert(module.clone(), names);
        }
        modules
    }

    /// Resolves `path`, as written in `module`, to segments below the crate's root; `None` if it leads out of
    /// the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let mut absolute = module.to_vec();
        match first.as_str() {
            "crate" => absolute.clear(),
            "self" => {}
            "super" => {
                absolute.pop();
                for _ in rest.iter().take_while(|segment| *segment == "super") {
                    absolute.pop();
                }
            }
            child => {
                absolute.push(child.to_owned());
                if !self.code.contains_key(&absolute) {
                    return None;
                }
            }
        }
        absolute.extend(rest.iter().filter(|segment| *segment != "super").cloned());
        Some(absolute)
    }

    /// Returns the module that defines the item at the end of `absolute`, followed through the imports of
    /// parent modules.
    fn defining_module(&self, absolute: &[String], depth: usize) -> Option<Segments> {
        let length =
            (1..=absolute.len()).rev().find(|length| self.code.contains_key(&absolute[..*length]))?;
        let module = &absolute[..length];
        let imported = absolute.get(length).and_then(|name| self.imported_names[module].get(name));
        match imported {
            Some(path) if depth < 8 => self.defining_module(path, depth + 1).or(Some(module.to_vec())),
            _ => Some(module.to_vec()),
        }
    }
}

/// Modules with the same parent that import each other.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cycle {
    pub(super) parent: String,
    pub(super) modules: Vec<String>,
    /// Imports among the modules: `audit → access`.
    pub(super) imports: Vec<String>,
}

/// Finds groups of sibling modules that import each other, directly or through others of the group.
///
/// A module counts with all modules below it. Imports between a module and its own parents are no cycle.
pub(super) fn cycles(files: &BTreeMap<String, String>) -> BTreeSet<Cycle> {
    let modules = Modules::new(files);
    let mut imports: BTreeMap<Segments, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, code) in &modules.code {
        for path in paths(code) {
            let absolute = modules.absolute(module, &path);
            let Some(target) = absolute.and_then(|absolute| modules.defining_module(&absolute, 0)) else {
                continue;
            };
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            // Imports between top-level modules follow the layers.
            if common > 0 && common < module.len() && common < target.len() {
                let siblings = imports.entry(module[..common].to_vec()).or_default();
                siblings.entry(module[common].clone()).or_default().insert(target[common].clone());
            }
        }
    }
    let mut found = BTreeSet::new();
    for (parent, siblings) in imports {
        for start in siblings.keys() {
            let reached = reachable(&siblings, start);
            if reached.contains(start) {
                let imports_start = |other: &&String| reachable(&siblings, other).contains(start);
                let modules: Vec<String> = reached.iter().filter(imports_start).cloned().collect();
                let mut edges = Vec::new();
                for module in &modules {
                    let inside = siblings[module].iter().filter(|imported| modules.contains(imported));
                    edges.extend(inside.map(|imported| format!("{module} → {imported}")));
                }
                found.insert(Cycle { parent: parent.join("/"), modules, imports: edges });
            }
        }
    }
    found
}

/// Returns the modules that `start` imports, directly or indirectly.
fn reachable(imports: &BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for next in imports.get(module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    reached
}

#[test]
fn use_trees_are_expanded() {
    let found = paths("use crate::{a::{b, c::*,}, d::{self, E}}; fn f() { super::super::g::<T>() }");
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a::b", "crate::a::c", "crate::d", "crate::d::E", "super::super::g"]);
}

#[test]
fn cycles_are_found_through_parents_and_folders() {
    let files = |files: &[(&str, &str)]| {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    };
    let tree = files(&[
        ("a.rs", "mod b;\nmod c;\nmod d;\npub use d::Item;\nuse b::Other;"),
        ("a/b.rs", "use super::{Item, c::C};"),
        ("a/c.rs", "mod deep;\n// use super::b::B;\n#[cfg(test)]\nmod tests {\n    use crate::a::b::B;\n}"),
        ("a/c/deep.rs", "fn f() -> crate::a::d::D {}"),
        ("a/d.rs", "use super::Own;"),
    ]);
    assert!(cycles(&tree).is_empty());
    let mut circle: BTreeMap<String, String> = tree;
    circle.insert("a/d.rs".to_owned(), "use super::Other;".to_owned());
    let [cycle] = cycles(&circle).into_iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((cycle.parent.as_str(), cycle.modules), ("a", ["b", "c", "d"].map(str::to_owned).to_vec()));
    assert_eq!(cycle.imports, ["b → c", "b → d", "c → d", "d → b"]);
}
