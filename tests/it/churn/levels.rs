//! Risk levels by value at risk, and reasons in another language.

use super::simulate;
use crate::support::{
    lists::{card, csv, pages},
    shop::Shop,
};

#[tokio::test]
async fn top_levels_hold_the_most_urgent_customers_by_value_at_risk() {
    let shop = Shop::new(
        "[churn]\nhorizon = \"60d\"\nlevels = \"top\"\nlanguage = \"zh\"\n\
         [churn.top]\nhigh = 20\nmedium = \"10%\"\n",
    );
    let (lines, _) = simulate(700, 3);
    shop.raw("transactions/x.csv", csv(&lines));
    let service = shop.open().await;
    let (total, all) = pages(&service, "/v1/churn?", 500).await;
    assert_eq!(total, 700);
    let risks: Vec<&str> = all.iter().map(|(_, views)| views["churn"]["risk"].as_str().unwrap()).collect();
    let expected = |rank: usize| match rank {
        0..20 => "high",
        20..90 => "medium",
        _ => "low",
    };
    assert!(risks.iter().enumerate().all(|(rank, risk)| *risk == expected(rank)), "{risks:?}");
    let segment = service.get("/v1/segments/churn_high").await.json();
    assert_eq!(segment["size"], 20);
    assert_eq!(segment["definition"], "the 20 customers with the greatest value at risk");
    let manifest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    let card = card(&manifest);
    let levels: Vec<(&str, u64, u64)> = card
        .risk_levels
        .iter()
        .map(|one| (one.level.as_str(), one.customers, one.observed.as_ref().unwrap().customers))
        .collect();
    let measured = card.cuts.last().unwrap().customers;
    let medium = measured.div_ceil(10);
    assert_eq!(levels, [("high", 20, 20), ("medium", 70, medium), ("low", 610, measured - 20 - medium)]);
    let text = all[0].1["churn"]["reasons"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("风险升高") || text.ends_with("风险降低"), "{text}");
    let printed = String::from_utf8(shop.larder(&["evaluate"]).stdout).unwrap();
    assert!(printed.contains("risk levels by top"), "{printed}");
}
