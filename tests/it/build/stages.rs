//! Measurements of the stages of a build, plans of its views, and the memory limit.

use larder::snapshot::{Manifest, list};

use crate::support::shop::{CORNERS, CORNERS_TOML, Shop, corners};

/// Names of DataFusion's operators that move rows between partitions.
const EXCHANGES: [&str; 3] = ["RepartitionExec", "CoalescePartitionsExec", "SortPreservingMergeExec"];

async fn only_snapshot(shop: &Shop) -> Manifest {
    let mut all = list(&shop.lake()).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Returns the plan of `view` in the output of `larder build --explain`.
fn plan<'a>(output: &'a str, view: &str) -> &'a str {
    let (_, rest) = output.split_once(&format!("\nview {view}:\n")).unwrap_or_else(|| panic!("{output}"));
    rest.split("\n\n").next().unwrap()
}

#[tokio::test]
async fn explain_prints_the_stages_and_the_plans() {
    let shop = corners();
    let folder = shop.path().join("views");
    std::fs::create_dir(&folder).unwrap();
    let joined = "SELECT b.customer_id, b.items, r.monetary, p.first_seen_at \
        FROM behavior b JOIN rfm r ON r.customer_id = b.customer_id \
        JOIN profile p ON p.customer_id = b.customer_id";
    std::fs::write(folder.join("joined.sql"), joined).unwrap();
    let shuffled = "SELECT upper(customer_id) AS customer_id, count(*) AS orders FROM orders \
        GROUP BY upper(customer_id)";
    std::fs::write(folder.join("shuffled.sql"), shuffled).unwrap();
    let toml = shop.path().join("larder.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, format!("{text}[views]\nfolder = \"views\"\n")).unwrap();
    let output = shop.larder(&["build", "--no-publish", "--explain"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));

    let manifest = only_snapshot(&shop).await;
    let header = printed.lines().position(|line| line.starts_with("stage ")).expect("a table of stages");
    let table: Vec<&str> = printed.lines().skip(header).take_while(|line| !line.trim().is_empty()).collect();
    for column in ["seconds", "share %", "rows", "written", "peak memory"] {
        assert!(table[0].contains(column), "{}", table[0]);
    }
    let names: Vec<&str> = manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
    for (line, name) in table[1..].iter().zip(names.iter().chain(&["all stages"])) {
        assert!(line.starts_with(name), "{line} is not of {name}");
    }
    assert_eq!(table.len(), names.len() + 2);
    for stage in &manifest.stages {
        assert!(stage.peak_memory_bytes > Some(1 << 20), "{stage:?}");
        assert!(stage.written_bytes.is_some(), "{stage:?}");
    }
    let rows = |name: &str| manifest.stages.iter().find(|stage| stage.name == name).unwrap().rows;
    assert_eq!(rows("raw"), Some(manifest.counts.values().map(|counts| counts.lines).sum()));
    assert_eq!(rows("rows"), Some(manifest.customers));
    assert_eq!(rows("view rfm"), Some(manifest.customers));
    let written: u64 = manifest.stages.iter().filter_map(|stage| stage.written_bytes).sum();
    assert!(written > manifest.files.iter().map(|file| file.bytes).sum());

    for view in ["profile", "behavior", "rfm_values", "joined"] {
        let plan = plan(&printed, view);
        assert!(plan.contains("DataSourceExec: staged"), "{plan}");
        assert!(plan.contains("partitioning=Hash([customer_id@0], 4)"), "{plan}");
        for exchange in EXCHANGES.into_iter().chain(["SortExec"]) {
            assert!(!plan.contains(exchange), "{view} has {exchange}: {plan}");
        }
    }
    // Each partition of the rows of `rfm` stays where it is. The quintile edges are one row.
    let rfm = plan(&printed, "rfm");
    assert!(EXCHANGES.iter().all(|exchange| !rfm.contains(exchange)), "{rfm}");
    assert!(plan(&printed, "shuffled").contains("RepartitionExec"));
}

#[test]
fn build_over_the_memory_limit_is_stopped_in_any_stage() {
    // Less than the program needs by itself, so that the first stage is stopped.
    let shop = Shop::new(&format!("{CORNERS_TOML}[build]\nmemory_limit = \"8MiB\"\n"));
    shop.raw("transactions/all.csv", CORNERS);
    let output = shop.larder(&["build"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("error: raw: the process used"), "{error}");
    assert!(error.contains("memory_limit in [build] (8 MiB); raise memory_limit"), "{error}");
    assert!(shop.snapshot_folders().is_empty());
}
