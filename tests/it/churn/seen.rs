//! Predictions of earlier snapshots, compared with what happened since.

use std::collections::{BTreeMap, BTreeSet};

use super::{TOML, simulate};
use crate::support::{
    lists::{card, csv},
    shop::Shop,
};

/// Returns the share of customers with an order up to `from` who have none after `from` and up to `to`.
fn churned(lines: &[String], from: &str, to: &str) -> (u64, f64) {
    let mut times: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines {
        let (id, at) = (line.split(',').next().unwrap(), line.rsplit(',').next().unwrap());
        times.entry(id).or_default().insert(at);
    }
    let known: Vec<_> = times.values().filter(|times| *times.first().unwrap() <= from).collect();
    let gone = known.iter().filter(|times| !times.iter().any(|at| *at > from && *at <= to)).count();
    #[expect(clippy::cast_precision_loss, reason = "numbers of customers")]
    let share = gone as f64 / known.len() as f64;
    (known.len() as u64, share)
}

#[tokio::test]
async fn later_builds_show_what_became_of_earlier_predictions() {
    let (lines, _) = simulate(900, 9);
    let shop = Shop::new(TOML);
    shop.raw("transactions/x.csv", csv(&lines));
    let build = async |at: &str| shop.try_build(Some(at)).await.unwrap();
    let [first, second, last] = ["2023-08-01T00:00:00Z", "2023-09-03T00:00:00Z", "2023-09-30T00:00:00Z"];
    let mut ids = Vec::new();
    for at in [first, second] {
        let built = build(at).await;
        assert!(card(&built.manifest).trusted);
        ids.push(built.manifest.id.clone());
    }
    assert!(card(&build("2023-07-01T00:00:00Z").await.manifest).seen.is_empty());
    let built = build(last).await;
    let seen = &card(&built.manifest).seen;
    let compared: Vec<_> =
        seen.iter().map(|one| (one.snapshot.clone(), one.observed_days, one.finished)).collect();
    // The snapshot of July is 91 days old.
    assert_eq!(compared[1..], [(ids[0].clone(), 60, true), (ids[1].clone(), 27, false)]);
    for (one, to) in seen[1..].iter().zip(["2023-09-30T00:00:00Z", last]) {
        let from = one.as_of.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (customers, share) = churned(&lines, &from, to);
        assert_eq!(one.customers, customers);
        assert!((one.churned - share).abs() < 1e-4, "{one:?} {share}");
        assert!(one.auc > 0.7, "{one:?}");
        assert_eq!(one.calibration_error.is_some(), one.finished);
    }
    assert!(seen[1].calibration_error.unwrap() < 0.1 && (seen[1].predicted - seen[1].churned).abs() < 0.1);
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let answer = service.get("/v1/models/churn").await.json();
    assert_eq!(answer["card"]["seen"][1]["snapshot"], ids[0].to_string());
    let printed = String::from_utf8(shop.larder(&["evaluate"]).stdout).unwrap();
    assert!(printed.contains("predictions of earlier snapshots"), "{printed}");
}
