//! The files of the console, which are in the folder `console` of the repository.

/// A file as it is in the repository.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Path in the folder `console`.
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

impl SourceFile {
    pub(super) fn is_style_sheet(&self) -> bool {
        self.extension() == "css"
    }

    pub(super) fn is_module(&self) -> bool {
        self.extension() == "js"
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.extension() {
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    fn extension(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// The page.
pub(super) const PAGE: &str = include_str!("../../../../console/index.html");

macro_rules! files {
    ($($name:literal,)+) => {
        &[$(SourceFile { name: $name, text: include_str!(concat!("../../../../console/", $name)) },)+]
    };
}

/// The files that the page loads.
pub(super) const FILES: &[SourceFile] = files![
    "app.js",
    "i18n/en.js",
    "i18n/zh.js",
    "icon.svg",
    "lib/api.js",
    "lib/compare.js",
    "lib/distribution.js",
    "lib/expression.js",
    "lib/format.js",
    "lib/i18n.js",
    "lib/purchases.js",
    "lib/router.js",
    "lib/segments.js",
    "lib/store.js",
    "lib/views.js",
    "pages/audiences.js",
    "pages/churn-model.js",
    "pages/churn.js",
    "pages/customer.js",
    "pages/data.js",
    "pages/migration.js",
    "pages/overlap.js",
    "pages/overview.js",
    "pages/segment.js",
    "pages/segments.js",
    "parts/audience-results.js",
    "parts/bars.js",
    "parts/builder.js",
    "parts/charts.js",
    "parts/event-fields.js",
    "parts/export.js",
    "parts/features.js",
    "parts/flow.js",
    "parts/heat-map.js",
    "parts/icons.js",
    "parts/key.js",
    "parts/members.js",
    "parts/menu.js",
    "parts/panel.js",
    "parts/purchases.js",
    "parts/suggesting.js",
    "parts/table.js",
    "parts/tabs.js",
    "style/base.css",
    "style/builder.css",
    "style/charts.css",
    "style/parts.css",
    "theme.js",
    "vendor/d3.js",
    "vendor/preact.js",
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Files of the folder that only its developers need.
    const NOT_SERVED: &[&str] = &["index.html", "vendor/d3.entry.js", "vendor/preact.entry.js"];

    fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if path
                .extension()
                .is_some_and(|extension| ["css", "html", "js", "svg"].iter().any(|known| extension == *known))
            {
                found.insert(path.strip_prefix(root).expect("below the root").display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut found = BTreeSet::new();
        walk(&root, &root, &mut found);
        found.retain(|name| !NOT_SERVED.contains(&name.as_str()));
        let listed: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(found, listed);
    }
}
