//! Builds that score with the model of an earlier build.

use larder::snapshot::{Manifest, models::ChurnModel};

use super::{TOML, simulate};
use crate::support::{
    lists::{card, csv},
    shop::Shop,
};

const FIRST: &str = "2023-09-01T00:00:00Z";

/// Returns a shop with a published snapshot as of [`FIRST`], and its manifest.
async fn trained_shop() -> (Shop, Manifest) {
    let shop = Shop::new(&format!("{TOML}retrain = \"7d\"\n"));
    shop.raw("transactions/x.csv", csv(&simulate(700, 5).0));
    let first = shop.try_build(Some(FIRST)).await.unwrap().manifest;
    shop.publish(&first.id).await;
    (shop, first)
}

fn trained_at(card: &ChurnModel) -> (String, f64) {
    let training = card.training.as_ref().unwrap();
    (training.at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), training.age_days)
}

#[tokio::test]
async fn model_is_kept_for_the_time_of_retrain() {
    let (shop, first) = trained_shop().await;
    assert_eq!(trained_at(card(&first)), (FIRST.to_owned(), 0.0));
    assert_eq!(card(&first).file.as_ref().unwrap().path, "models/churn.json");
    // The same data with the kept model gives the same bytes.
    let again = shop.try_build(Some(FIRST)).await.unwrap().manifest;
    assert_eq!(again.fingerprint, first.fingerprint);
    assert_eq!(card(&again), card(&first));
    let later = shop.try_build(Some("2023-09-04T12:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&later)), (FIRST.to_owned(), 3.5));
    assert_eq!(card(&later).cuts, card(&first).cuts);
    assert!(card(&later).risk_levels.iter().map(|level| level.customers).sum::<u64>() > 0);
    assert!(later.fingerprint != first.fingerprint);
    shop.publish(&later.id).await;
    // The age counts from the training, not from the last build.
    let after = shop.try_build(Some("2023-09-08T00:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&after)), ("2023-09-08T00:00:00Z".to_owned(), 0.0));
    assert_ne!(card(&after).cuts, card(&first).cuts);
}

#[tokio::test]
async fn other_settings_an_erasure_and_the_flag_train_anew() {
    let (mut shop, first) = trained_shop().await;
    let output = shop.larder(&["build", "--as-of", "2023-09-02T00:00:00Z", "--no-publish", "--retrain"]);
    assert!(output.status.success(), "{output:?}");
    let newest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    assert_eq!(trained_at(card(&newest)).1, 0.0);
    shop.config.churn.cuts = 4;
    let other = shop.try_build(Some("2023-09-02T00:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&other)).1, 0.0);
    shop.config.churn.cuts = 5;
    let path = shop.path().join(format!("lake/snapshots/{}/models/churn.json", first.id));
    let model = std::fs::read(&path).unwrap();
    std::fs::write(&path, &model[..model.len() / 2]).unwrap();
    let damaged = shop.try_build(Some("2023-09-02T00:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&damaged)).1, 0.0);
    std::fs::write(&path, &model).unwrap();
    let kept = shop.try_build(Some("2023-09-02T00:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&kept)).1, 1.0);
    let output = shop.larder(&["forget", "c00001"]);
    assert!(output.status.success(), "{output:?}");
    let erased = shop.try_build(Some("2023-09-02T00:00:00Z")).await.unwrap().manifest;
    assert_eq!(trained_at(card(&erased)).1, 0.0);
}
