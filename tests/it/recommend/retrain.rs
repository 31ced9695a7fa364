//! `retrain`: builds that use the rule and the measurement of an earlier build.

use larder::snapshot::{Manifest, models::RecommendationsModel};

use super::{planted_pairs, shop_of};
use crate::support::shop::Shop;

/// Builds at `as_of`, and publishes if `publish`. Returns the manifest.
async fn build(shop: &Shop, as_of: &str, publish: bool) -> Manifest {
    let built = shop.try_build(Some(as_of)).await.unwrap();
    if publish {
        shop.publish(&built.manifest.id).await;
    }
    built.manifest
}

fn card(manifest: &Manifest) -> &RecommendationsModel {
    manifest.models.recommendations.as_ref().unwrap()
}

/// Returns the day on which the model was trained, and the age of the model.
fn trained(manifest: &Manifest) -> (String, f64) {
    let training = card(manifest).training.clone().unwrap();
    (training.at.format("%F").to_string(), training.age_days)
}

#[tokio::test]
async fn builds_in_between_use_the_rule_and_the_measurement_of_the_current_snapshot() {
    let mut shop = shop_of(&planted_pairs(), "[recommendations]\nretrain = \"7d\"\n");
    let first = build(&shop, "2024-12-01T00:00:00Z", true).await;
    assert_eq!(trained(&first), ("2024-12-01".to_owned(), 0.0));
    let second = build(&shop, "2024-12-05T12:00:00Z", true).await;
    assert_eq!(trained(&second), ("2024-12-01".to_owned(), 4.5));
    let [before, after] = [card(&first), card(&second)];
    assert_eq!(after.measured, before.measured);
    assert_eq!((&after.buy_again_rule, &after.notes), (&before.buy_again_rule, &before.notes));
    assert_eq!(after.buy_again_length, before.buy_again_length);
    // The age counts from the training, not from the snapshot before.
    let third = build(&shop, "2024-12-08T00:00:00Z", false).await;
    assert_eq!(trained(&third), ("2024-12-08".to_owned(), 0.0));
    assert_ne!(card(&third).measured, before.measured);
    // Only the current snapshot counts; without the setting none does.
    let fourth = build(&shop, "2024-12-09T00:00:00Z", false).await;
    assert_eq!(trained(&fourth), ("2024-12-09".to_owned(), 0.0));
    assert_eq!(trained(&build(&shop, "2024-12-06T00:00:00Z", false).await).1, 5.0);
    shop.config.recommendations.retrain = std::time::Duration::ZERO;
    assert_eq!(trained(&build(&shop, "2024-12-06T00:00:00Z", false).await).1, 0.0);
}

#[tokio::test]
async fn other_settings_another_reading_or_earlier_data_train_anew() {
    let mut shop = shop_of(&planted_pairs(), "[recommendations]\nretrain = \"7d\"\n");
    build(&shop, "2024-12-05T00:00:00Z", true).await;
    let usual = shop.config.clone();
    let day = "2024-12-06T00:00:00Z";
    assert_eq!(trained(&build(&shop, day, false).await).1, 1.0);
    shop.config.recommendations.horizon = std::time::Duration::from_hours(24 * 60);
    assert_eq!(trained(&build(&shop, day, false).await).1, 0.0);
    shop.config = usual.clone();
    shop.config.recommendations.exclude.push("tea".to_owned());
    assert_eq!(trained(&build(&shop, day, false).await).1, 0.0);
    shop.config = usual.clone();
    shop.config.raw.zone = "Asia/Shanghai".to_owned();
    assert_eq!(trained(&build(&shop, day, false).await).1, 0.0);
    shop.config = usual.clone();
    assert_eq!(trained(&build(&shop, "2024-12-04T00:00:00Z", false).await).1, 0.0);
    // A lake without a readable manifest is one without models.
    let current = &shop.snapshot_folders();
    for folder in current {
        std::fs::write(folder.join("manifest.json"), "{}").unwrap();
    }
    assert_eq!(trained(&build(&shop, day, false).await).1, 0.0);
}

#[tokio::test]
async fn command_line_can_train_anew_and_the_card_tells_the_age() {
    let shop = shop_of(&planted_pairs(), "[recommendations]\nretrain = \"7d\"\n");
    let run = |args: &[&str]| {
        let output = shop.larder(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["build", "--as-of", "2024-12-01T00:00:00Z"]);
    run(&["build", "--as-of", "2024-12-03T00:00:00Z"]);
    let told = run(&["evaluate"]);
    assert!(told.contains("trained as of 2024-12-01T00:00:00Z, 2 days before this snapshot"), "{told}");
    let service = shop.serve().await;
    let model = service.get("/v1/models/recommendations").await.json();
    assert_eq!(model["card"]["training"]["at"], "2024-12-01T00:00:00Z", "{model}");
    assert_eq!(model["card"]["training"]["age_days"], 2.0);
    run(&["build", "--retrain", "--as-of", "2024-12-04T00:00:00Z"]);
    let told = run(&["evaluate"]);
    assert!(!told.contains("before this snapshot"), "{told}");
}
