//! The user's own features as inputs of the churn model: chosen by the configuration, or by their effect.

use std::fmt::Write as _;

use larder::snapshot::models::ChurnModel;

use super::{TOML, simulate};
use crate::support::{
    lists::{card, csv},
    shop::Shop,
};

/// A view with 40 columns that say nothing about churn and one that does.
fn many_columns() -> String {
    let mut sql = "SELECT customer_id, CAST(count(*) AS DOUBLE) AS orders_seen".to_owned();
    for column in 0..40 {
        write!(sql, ", CAST((min(length(order_id)) * {column}) % 7 AS BIGINT) AS noise_{column:02}").unwrap();
    }
    sql + " FROM orders GROUP BY customer_id"
}

/// Returns a shop with two views of its own.
fn shop_with_views(settings: &str) -> Shop {
    let mut shop = Shop::new(&format!("{TOML}{settings}"));
    std::fs::create_dir(shop.path().join("views")).unwrap();
    std::fs::write(shop.path().join("views/many.sql"), many_columns()).unwrap();
    std::fs::write(
        shop.path().join("views/one.sql"),
        "SELECT customer_id, max(items) AS items, CAST(min(revenue) AS TEXT) AS text FROM orders \
         GROUP BY customer_id",
    )
    .unwrap();
    shop.config.views.folder = Some(shop.path().join("views"));
    shop.raw("transactions/x.csv", csv(&simulate(700, 3).0));
    shop
}

/// Returns the model card, and the names of the user's features that the model reads.
async fn own_inputs(settings: &str) -> (ChurnModel, Vec<String>) {
    let shop = shop_with_views(settings);
    let built = shop.build().await;
    let card = card(&built.manifest).clone();
    assert!(card.trusted, "{:?}", card.reasons);
    let sources = card.features.iter().map(|feature| feature.source.clone());
    let mut own: Vec<String> =
        sources.filter(|name| name.starts_with("many.") || name.starts_with("one.")).collect();
    own.sort();
    (card, own)
}

#[tokio::test]
async fn many_own_features_are_screened_and_few_are_not() {
    let (card, own) = own_inputs("").await;
    assert!(own.contains(&"many.orders_seen".to_owned()) && own.len() <= 24, "{own:?}");
    let caveat = card.caveats.iter().find(|caveat| caveat.contains("of 42 features")).unwrap();
    assert!(caveat.contains("exclude"), "{caveat}");
    let (card, own) =
        own_inputs("inputs = [\"many.orders_seen\", \"one\"]\nexclude = [\"one.text\"]\n").await;
    assert_eq!(own, ["many.orders_seen", "one.items"]);
    assert!(!card.caveats.iter().any(|caveat| caveat.contains("features of your own")));
    let (_, own) = own_inputs("inputs = []\n").await;
    assert!(own.is_empty(), "{own:?}");
}

#[tokio::test]
async fn unknown_inputs_are_refused_by_name() {
    for (settings, message) in [
        ("inputs = [\"many.order_seen\"]\n", "[churn] inputs: there is no view or feature `many.order_seen`"),
        ("exclude = [\"loyalty\"]\n", "[churn] exclude: there is no view or feature `loyalty`"),
    ] {
        let error = shop_with_views(settings).try_build(None).await.unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}
