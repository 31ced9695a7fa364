//! The pictures in `docs/images`. With a demo that runs and has an earlier snapshot,
//! `UPDATE_IMAGES=http://127.0.0.1:8080 cargo test --test it -- console::pictures` takes them anew.

use std::{env, fs, path::Path};

use crate::{console::repository, support::chromium::Chromium};

/// Name, address, width, height, color scheme.
const PICTURES: &[(&str, &str, u32, u32, &str)] = &[
    ("overview", "", 1280, 1330, "light"),
    ("overview-dark", "", 1280, 1330, "dark"),
    ("migration", "segments?tab=migration", 1280, 860, "light"),
    ("model", "churn?tab=model", 1280, 1240, "light"),
    (
        "audience",
        "audiences?where=segment%3Aat_risk%20and%20rfm.monetary%20%3E%3D%201000%20and%20\
         profile.country%20!%3D%20%22United%20Kingdom%22&by=profile.country",
        1280,
        1180,
        "light",
    ),
    ("customer", "customers/C0013041", 360, 1400, "light"),
    ("purchases", "customers/C0013041", 1280, 1240, "light"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_is_there() {
    let folder = repository("docs/images");
    if let Ok(url) = env::var("UPDATE_IMAGES") {
        take(&url, &folder).await;
    }
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    for (name, ..) in PICTURES {
        let file = format!("{name}.png");
        let size = fs::metadata(folder.join(&file)).map_or(0, |file| file.len());
        assert!(size > 10_000 && size < 600_000, "docs/images/{file}: {size} bytes");
    }
    assert!(readme.contains("docs/images/overview.png"), "README.md shows the console");
}

async fn take(url: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let chromium = Chromium::start("en-US").await;
    for (name, page, width, height, scheme) in PICTURES {
        chromium.show_as(*width, *height, scheme).await;
        chromium.open(&format!("{url}/#/{page}")).await;
        chromium.settled().await;
        chromium.picture(&folder.join(format!("{name}.png"))).await;
    }
}
