//! Tables of the recommendations model card.

use indicatif::HumanCount;

use crate::{
    cli::table,
    snapshot::{
        models::recommendations::{ListMeasured, RecommendationsModel},
        rfc3339,
    },
};

/// Prints the inputs of the recommendations and the metrics of each candidate.
pub(super) fn recommendations(card: &RecommendationsModel) -> anyhow::Result<()> {
    table::line("\nrecommendations")?;
    for note in &card.notes {
        table::line(&format!("note: {note}"))?;
    }
    let facts = [
        ("products", HumanCount(card.products).to_string()),
        ("excluded product ids", HumanCount(card.excluded_products).to_string()),
        ("customers with a history", HumanCount(card.customers_with_history).to_string()),
        ("customers without (get best sellers)", HumanCount(card.customers_without_history).to_string()),
        ("buy_again list length", HumanCount(card.buy_again_length).to_string()),
        ("buy_again ranking", card.buy_again_rule.clone()),
    ];
    if let Some(training) = card.training.as_ref().filter(|training| training.age_days > 0.0) {
        let at = rfc3339::format(training.at);
        table::line(&format!("trained as of {at}, {} days before this snapshot", training.age_days))?;
    }
    let mut facts: Vec<Vec<String>> = facts.map(|(fact, value)| vec![fact.to_owned(), value]).to_vec();
    let Some(measured) = &card.measured else {
        table::print(&["", "value"], &facts)?;
        return Ok(table::line("not measured")?);
    };
    facts.push(vec![
        "repeat purchases, % of purchases".to_owned(),
        format!("{:.1}", measured.repeat_share * 100.0),
    ]);
    facts.push(vec![
        "repeat purchases per customer".to_owned(),
        format!("{:.2}", measured.repeats_per_customer),
    ]);
    facts.push(vec!["customers in the sample, %".to_owned(), format!("{:.1}", measured.sample * 100.0)]);
    table::print(&["", "value"], &facts)?;
    table::line("")?;
    table::line(&format!(
        "trained until {}, evaluated on the following {} days; lists of {}",
        rfc3339::format(measured.split),
        measured.horizon_days,
        card.length
    ))?;
    let mut rows = candidates("products", &measured.products);
    rows.extend(candidates("buy_again", &measured.buy_again));
    Ok(table::print(&["list", "customers", "candidate", "hit rate", "recall", "NDCG"], &rows)?)
}

/// Returns one table row for each candidate of a list.
fn candidates(list: &str, measured: &ListMeasured) -> Vec<Vec<String>> {
    let row = |candidate: &crate::snapshot::models::recommendations::CandidateMeasured| {
        let mut row =
            vec![list.to_owned(), HumanCount(measured.customers).to_string(), candidate.name.clone()];
        row.extend([candidate.hit_rate, candidate.recall, candidate.ndcg].map(|value| format!("{value:.4}")));
        row
    };
    measured.candidates.iter().map(row).collect()
}
