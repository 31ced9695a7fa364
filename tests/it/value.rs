//! Customer value: a simulated shop with a known future, values that follow from orders, too little data, the
//! model card, and determinism.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use chrono::{DateTime, TimeDelta, Utc};
use larder::snapshot::{Manifest, models::ValueModel};
use serde_json::Value;

use crate::support::{
    dice::Dice,
    lists::csv,
    shop::{Service, Shop},
};

const DAYS: f64 = 1_460.0;
const TOML: &str = "[churn]\nenabled = false\n[recommendations]\nenabled = false\n";

/// Simulates customers who order at an individual rate until they leave, with individual amounts. Returns the
/// lines up to the end of the history, and the spending of each customer in the year after it.
fn simulate(customers: usize, seed: u64) -> (Vec<String>, BTreeMap<String, f64>) {
    let start: DateTime<Utc> = "2020-01-01T00:00:00Z".parse().unwrap();
    let mut dice = Dice(seed);
    let (mut lines, mut future) = (Vec::new(), BTreeMap::new());
    for number in 0..customers {
        let id = format!("c{number:05}");
        let (rate, leaving) = (0.002 + 0.04 * dice.next().powi(3), 1.0 / (100.0 + 1_500.0 * dice.next()));
        let price = 5.0 + 100.0 * dice.next().powi(2);
        let mut at = dice.next() * DAYS * 0.98;
        let gone = at + dice.wait(leaving);
        let (mut order, mut known) = (0, false);
        while at < gone.min(DAYS + 365.0) {
            let amount = price * (0.5 + dice.next());
            if at < DAYS {
                known = true;
                #[expect(clippy::cast_possible_truncation, reason = "seconds")]
                let time = start + TimeDelta::seconds((at * 86_400.0) as i64);
                let time = time.format("%Y-%m-%dT%H:%M:%SZ");
                lines.push(format!("{id},{id}-{order},p{},1,{amount:.2},{time}", order % 5));
                if dice.next() < 0.05 {
                    lines.push(format!("{id},{id}-{order}r,p{},-1,{:.2},{time}", order % 5, amount / 2.0));
                }
            } else {
                *future.entry(id.clone()).or_default() += amount;
            }
            order += 1;
            at += dice.wait(rate);
        }
        if known {
            future.entry(id).or_default();
        } else {
            future.remove(&id);
        }
    }
    (lines, future)
}

/// A simulated shop, built once for all tests that only read it.
struct SimulatedShop {
    runtime: tokio::runtime::Runtime,
    shop: Shop,
    service: Service,
    manifest: Manifest,
    future: BTreeMap<String, f64>,
}

fn simulated_shop() -> &'static SimulatedShop {
    static SHOP: OnceLock<SimulatedShop> = OnceLock::new();
    SHOP.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (lines, future) = simulate(1_500, 3);
        let shop = Shop::new(TOML);
        shop.raw("transactions/x.csv", csv(&lines));
        let (service, manifest) = runtime.block_on(async {
            let service = shop.open().await;
            (service, larder::snapshot::list(&shop.lake()).await.unwrap().remove(0))
        });
        SimulatedShop { runtime, shop, service, manifest, future }
    })
}

fn value_card(manifest: &Manifest) -> &ValueModel {
    manifest.models.value.as_ref().expect("a card")
}

/// Returns the views of the customer `id`.
async fn views(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/customers/{id}?views=value,rfm,behavior")).await.json()["views"].clone()
}

fn number(view: &Value, feature: &str) -> f64 {
    view[feature].as_f64().unwrap_or_else(|| panic!("{feature} of {view}"))
}

#[test]
fn forecast_is_close_to_the_future_of_a_simulated_shop() {
    let simulated = simulated_shop();
    let card = value_card(&simulated.manifest);
    assert!(card.trusted, "{:?}", card.reasons);
    assert_eq!((card.horizon_days, card.measured_days, card.learned_days), (365, 365, 365));
    assert_eq!(card.cuts.len(), 3);
    assert!(card.cuts.iter().map(|cut| cut.used_to_choose).eq([true, true, false]));
    for cut in &card.cuts {
        let of = |name: &str| cut.candidates.iter().find(|figures| figures.name == name).unwrap();
        let (own, base) = (of(&card.chosen), of("last_year"));
        assert!(own.explained_deviance > base.explained_deviance, "{own:?} {base:?}");
        assert!(own.mean_absolute_error < base.mean_absolute_error, "{own:?} {base:?}");
        let dates = cut.next_order.as_ref().expect("dates");
        assert!((dates.ordered_by_date - 0.5).abs() < 0.1, "{dates:?}");
        assert!(dates.others_ordered < dates.ordered_by_date, "{dates:?}");
    }
    let (mut foretold, mut seen, mut off, mut base) = (0.0, 0.0, 0.0, 0.0);
    for (id, spent) in &simulated.future {
        let views = simulated.runtime.block_on(views(&simulated.service, id));
        let predicted = number(&views["value"], "predicted_clv");
        (foretold, seen) = (foretold + predicted, seen + spent);
        off += (predicted - spent).abs();
        base += (number(&views["behavior"], "spend_365d") - spent).abs();
    }
    assert!((foretold / seen - 1.0).abs() < 0.15, "total {foretold}, seen {seen}");
    assert!(off < base, "error {off}, of last year {base}");
}

#[test]
fn columns_follow_from_the_orders_and_values_are_distinct() {
    let simulated = simulated_shop();
    let as_of = simulated.manifest.as_of;
    let mut distinct = BTreeSet::new();
    let mut without_date = 0;
    for id in simulated.future.keys() {
        let views = simulated.runtime.block_on(views(&simulated.service, id));
        let (value, rfm) = (&views["value"], &views["rfm"]);
        assert_eq!(value["historic_clv"], rfm["monetary"], "{id}");
        let basket = number(&views["behavior"], "basket_value");
        assert!((number(value, "average_order_value") - basket).abs() < 2e-4, "{id}: {value} {basket}");
        let parts = number(value, "historic_clv") + number(value, "predicted_clv");
        assert!((number(value, "total_clv") - parts).abs() < 1e-6, "{id}: {value}");
        assert!(number(value, "predicted_clv") >= 0.0 && number(value, "predicted_number_of_orders") >= 0.0);
        match value["expected_date_of_next_order"].as_str() {
            None => without_date += 1,
            Some(date) => {
                let days = (date.parse::<DateTime<Utc>>().unwrap() - as_of).num_days();
                assert!((1..=365).contains(&days), "{id}: {date}");
            }
        }
        distinct.insert(value["predicted_clv"].to_string());
    }
    // Equal values are a matter of chance: four decimal places are not many for small ones.
    assert!(distinct.len() * 100 > simulated.future.len() * 98, "{} values", distinct.len());
    assert!(without_date > 0 && without_date < simulated.future.len(), "{without_date}");
}

#[test]
fn card_is_served_and_printed() {
    let simulated = simulated_shop();
    let answer = simulated.runtime.block_on(simulated.service.get("/v1/models/value"));
    assert_eq!((answer.status, &answer.json()["name"]), (200, &"value".into()));
    assert_eq!(answer.json()["card"], serde_json::to_value(value_card(&simulated.manifest)).unwrap());
    let out = simulated.shop.larder(&["evaluate"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && text.contains("value: spending and orders within 365 days"), "{text}");
    assert!(text.contains("expected date of the next order"), "{text}");
}

#[tokio::test]
async fn short_history_is_measured_over_fewer_days_and_the_card_says_so() {
    let (lines, _) = simulate(1_500, 5);
    // The last 300 days.
    let recent: Vec<String> =
        lines.into_iter().filter(|line| line.rsplit(',').next().unwrap() >= "2023-03-05").collect();
    let shop = Shop::new(TOML);
    shop.raw("transactions/x.csv", csv(&recent));
    let built = shop.try_build(None).await.unwrap();
    let card = value_card(&built.manifest);
    assert!((90..=100).contains(&card.measured_days), "{}", card.measured_days);
    assert!(card.caveats.iter().any(|caveat| caveat.contains("was not measured")), "{:?}", card.caveats);
    assert!(card.stretch > 2.0 && card.chosen != "rule", "{card:?}");
}

#[tokio::test]
async fn too_little_data_gives_a_rule_that_is_not_trusted() {
    let (lines, _) = simulate(60, 5);
    let shop = Shop::new(TOML);
    shop.raw("transactions/x.csv", csv(&lines));
    let service = shop.open().await;
    let manifest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    let card = value_card(&manifest);
    assert!(!card.trusted && card.cuts.is_empty() && card.training_cuts.is_empty());
    assert_eq!((card.chosen.as_str(), card.chosen_for_orders.as_str()), ("rule", "rule"));
    assert!(card.reasons[0].contains("at least 200 are needed"), "{:?}", card.reasons);
    assert!(manifest.warnings.iter().any(|warning| warning.to_string().contains("value:")));
    // Spending and orders of the last year, and a little of earlier years.
    let views = views(&service, "c00001").await;
    let (value, spent) = (&views["value"], number(&views["behavior"], "spend_365d"));
    assert!(number(value, "predicted_clv") >= 0.8 * spent, "{views}");
    assert!(number(value, "predicted_clv") <= number(value, "historic_clv").max(0.0) + 1e-4, "{views}");
}

#[tokio::test]
async fn disabled_value_leaves_no_view() {
    let (lines, _) = simulate(60, 5);
    let shop = Shop::new(&format!("{TOML}[value]\nenabled = false\n"));
    shop.raw("transactions/x.csv", csv(&lines));
    let service = shop.open().await;
    assert_eq!(service.get("/v1/models/value").await.status, 404);
    assert!(service.get("/v1/customers/c00001").await.json()["views"]["value"].is_null());
}

/// The number of threads changes neither the view nor the card.
#[tokio::test]
async fn builds_are_equal_for_any_number_of_threads() {
    let (lines, _) = simulate(800, 9);
    let mut found = Vec::new();
    for threads in [1, 3] {
        let shop = Shop::new(&format!("{TOML}[build]\nthreads = {threads}\n"));
        shop.raw("transactions/x.csv", csv(&lines));
        let built = shop.try_build(None).await.unwrap();
        found.push((built.manifest.fingerprint.clone(), value_card(&built.manifest).clone()));
    }
    assert_eq!(found[0], found[1]);
}
