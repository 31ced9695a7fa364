//! The card of the recommendations as tables.

use crate::{
    cli::table,
    snapshot::{
        models::recommendations::{ListMeasured, RecommendationsModel},
        rfc3339,
    },
};

/// Prints what the lists are made from, and how each candidate did.
pub(super) fn recommendations(card: &RecommendationsModel) -> anyhow::Result<()> {
    table::line("\nrecommendations")?;
    for note in &card.notes {
        table::line(&format!("note: {note}"))?;
    }
    let facts = [
        ("products", table::count(card.products)),
        ("ids that are no products", table::count(card.excluded_products)),
        ("customers with a history", table::count(card.customers_with_history)),
        ("customers without (best sellers)", table::count(card.customers_without_history)),
        ("buy_again holds at most", table::count(card.buy_again_length)),
        ("buy_again is ranked by", card.buy_again_rule.clone()),
    ];
    let mut facts: Vec<Vec<String>> = facts.map(|(fact, value)| vec![fact.to_owned(), value]).to_vec();
    let Some(measured) = &card.measured else {
        table::print(&["", "value"], &facts)?;
        return Ok(table::line("not measured")?);
    };
    facts.push(vec![
        "repeats in what was bought, %".to_owned(),
        format!("{:.1}", measured.repeat_share * 100.0),
    ]);
    facts.push(vec!["repeats per customer".to_owned(), format!("{:.2}", measured.repeats_per_customer)]);
    facts.push(vec!["customers measured, %".to_owned(), format!("{:.1}", measured.sample * 100.0)]);
    table::print(&["", "value"], &facts)?;
    table::line("")?;
    table::line(&format!(
        "learned until {}, asked for the {} days after it; lists of {}",
        rfc3339::format(measured.split),
        measured.horizon_days,
        card.length
    ))?;
    let mut rows = candidates("products", &measured.products);
    rows.extend(candidates("buy_again", &measured.buy_again));
    Ok(table::print(&["list", "customers", "candidate", "hit rate", "recall", "NDCG"], &rows)?)
}

fn candidates(list: &str, measured: &ListMeasured) -> Vec<Vec<String>> {
    let row = |candidate: &crate::snapshot::models::recommendations::CandidateMeasured| {
        let mut row = vec![list.to_owned(), table::count(measured.customers), candidate.name.clone()];
        row.extend([candidate.hit_rate, candidate.recall, candidate.ndcg].map(|value| format!("{value:.4}")));
        row
    };
    measured.candidates.iter().map(row).collect()
}
