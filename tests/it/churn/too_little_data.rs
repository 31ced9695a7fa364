//! Churn without enough data for a model: decided from the orders, without the views of the past.

use crate::support::{
    lists::{card, csv},
    shop::Shop,
};

/// A view that cannot be computed before 2023-12-20.
const ONLY_NOW: &str = "SELECT customer_id, max(items) / \
    CASE WHEN $as_of < arrow_cast('2023-12-20T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))') \
    THEN 0 ELSE 1 END AS now FROM orders GROUP BY customer_id";

/// Returns the lines of `customers` with one order each, over 360 days.
fn one_order_each(customers: usize) -> Vec<String> {
    let line = |at: usize| {
        let day = at * 360 / customers;
        format!("c{at:05},o{at},p{},1,2.50,2023-{:02}-{:02}T08:00:00Z", at % 7, day / 30 + 1, day % 28 + 1)
    };
    (0..customers).map(line).collect()
}

/// Builds a shop with `lines` and a view without a past; returns the reasons in the model card.
async fn reasons(lines: &[String]) -> Result<Vec<String>, String> {
    let mut shop = Shop::new("[churn]\nhorizon = \"60d\"\n");
    std::fs::create_dir(shop.path().join("views")).unwrap();
    std::fs::write(shop.path().join("views/only_now.sql"), ONLY_NOW).unwrap();
    shop.config.views.folder = Some(shop.path().join("views"));
    shop.raw("transactions/x.csv", csv(lines));
    let built = shop.try_build(None).await?;
    let card = card(&built.manifest);
    assert!(!card.trusted && card.chosen == "rule" && card.training_cuts.is_empty());
    Ok(card.reasons.clone())
}

#[tokio::test]
async fn views_of_the_past_are_not_run_if_no_model_is_possible() {
    let none = "no cut has at least 30 churned and 30 retained customers both in the cut and in the cuts \
                before it";
    let mut lines = one_order_each(600);
    assert_eq!(reasons(&lines).await.unwrap(), [none]);
    assert_eq!(
        reasons(&one_order_each(120)).await.unwrap(),
        ["99 customers had an order one horizon before as_of; at least 200 are needed"]
    );
    let short = &lines[500..];
    let found = reasons(short).await.unwrap();
    assert!(found.len() == 1 && found[0].contains("too short"), "{found:?}");
    // Customers who return within the horizon make a model possible, so the past is needed.
    let again = lines[..200].iter().map(|line| line.replace(",o", ",again").replace("T08:", "T09:"));
    let again = again.map(|line| {
        let day = if line.contains("-28T") { "2023-08-09T" } else { "2023-07-09T" };
        format!("{}{day}09:00:00Z", &line[..line.len() - 20])
    });
    lines.extend(again.collect::<Vec<String>>());
    let error = reasons(&lines).await.unwrap_err();
    assert!(error.contains("only_now"), "{error}");
}
