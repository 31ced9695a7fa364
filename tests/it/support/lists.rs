//! Transaction files made of lines, the pages of a list, and checks of churn probabilities.

use std::fmt::Write as _;

use larder::snapshot::{Manifest, models::ChurnModel};
use serde_json::Value;

use crate::support::shop::Service;

/// Returns a file of transactions with the usual header and `lines`.
pub(crate) fn csv<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    let mut text = String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at\n");
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// Reads all pages of a list; returns the total and, for each customer, the id and the views.
pub(crate) async fn pages(service: &Service, path: &str, limit: usize) -> (u64, Vec<(String, Value)>) {
    let (mut found, mut cursor): (Vec<(String, Value)>, _) = (Vec::new(), String::new());
    loop {
        let answer = service.get(&format!("{path}limit={limit}{cursor}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let page = answer.json();
        for customer in page["customers"].as_array().unwrap() {
            assert_eq!(customer["rank"], found.len() + 1);
            found.push((customer["customer_id"].as_str().unwrap().to_owned(), customer["views"].clone()));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (page["total"].as_u64().unwrap(), found),
        }
    }
}

/// Returns the model card of churn.
pub(crate) fn card(manifest: &Manifest) -> &ChurnModel {
    manifest.models.churn.as_ref().unwrap()
}

/// Returns the greatest calibration error over ten bins, for pairs of a served and a true probability.
pub(crate) fn greatest_bin_error(mut pairs: Vec<(f64, f64)>) -> f64 {
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = pairs.len().div_ceil(10);
    let off = pairs.chunks(size).map(|tenth| tenth.iter().map(|(served, truth)| served - truth).sum::<f64>());
    #[expect(clippy::cast_precision_loss, reason = "a number of customers")]
    let worst = off.fold(0.0_f64, |worst, sum| worst.max(sum.abs() / size as f64));
    worst
}
