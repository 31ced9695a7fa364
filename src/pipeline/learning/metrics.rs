//! Metrics of probabilities against outcomes: AUC, log loss, Brier score, and calibration and lift in ten
//! bins.

use crate::snapshot::models::{CandidateFigures, ChurnBin};

/// Number of calibration bins.
const BINS: usize = 10;

/// Returns the metrics of `probabilities` against the outcomes `churned`, rounded to four decimal places.
pub(in crate::pipeline) fn figures(name: &str, probabilities: &[f64], churned: &[bool]) -> CandidateFigures {
    let bins = bins(probabilities, churned);
    let calibration_error = mean(bins.iter().map(|bin| (bin.foretold - bin.seen).abs()));
    let outcome = |churned: &bool| f64::from(u8::from(*churned));
    let pairs = || probabilities.iter().zip(churned);
    let log_loss = mean(pairs().map(|(p, churned)| {
        let p = p.clamp(1e-6, 1.0 - 1e-6);
        -if *churned { p.ln() } else { (1.0 - p).ln() }
    }));
    CandidateFigures {
        name: name.to_owned(),
        auc: rounded(auc(probabilities, churned)),
        log_loss: rounded(log_loss),
        brier: rounded(mean(pairs().map(|(p, churned)| (p - outcome(churned)).powi(2)))),
        calibration_error: rounded(calibration_error),
        top_lift: rounded(bins.last().map_or(0.0, |bin| bin.lift)),
    }
}

/// Returns ten bins of equal size, lowest probability first. Rows with equal probabilities are in row order,
/// which is the order of customer ids.
pub(in crate::pipeline) fn bins(probabilities: &[f64], churned: &[bool]) -> Vec<ChurnBin> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]).then(a.cmp(b)));
    let share = |rows: &[usize]| mean(rows.iter().map(|row| f64::from(u8::from(churned[*row]))));
    let base = share(&order);
    let count = BINS.min(order.len());
    (0..count)
        .map(|bin| {
            let rows = &order[order.len() * bin / count..order.len() * (bin + 1) / count];
            let seen = share(rows);
            ChurnBin {
                customers: rows.len() as u64,
                foretold: rounded(mean(rows.iter().map(|row| probabilities[*row]))),
                seen: rounded(seen),
                lift: rounded(if base > 0.0 { seen / base } else { 0.0 }),
            }
        })
        .collect()
}

/// Returns the area under the ROC curve by the rank-sum formula (Mann-Whitney U); equal scores share their
/// mean rank. Returns 0.5 if `churned` has only one class.
#[expect(clippy::cast_precision_loss, reason = "ranks of customers")]
pub(in crate::pipeline) fn auc(scores: &[f64], churned: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut ranks, mut positives, mut start) = (0.0, 0.0, 0);
    for run in order.chunk_by(|a, b| scores[*a].total_cmp(&scores[*b]).is_eq()) {
        let rank = start as f64 + f64::midpoint(run.len() as f64, 1.0);
        let of_run = run.iter().filter(|row| churned[**row]).count() as f64;
        ranks += rank * of_run;
        positives += of_run;
        start += run.len();
    }
    let negatives = scores.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return 0.5;
    }
    (ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// Returns the arithmetic mean of `values`; 0 if there are none.
#[expect(clippy::cast_precision_loss, reason = "a number of customers")]
pub(in crate::pipeline) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Returns the share of `churned` that is true.
pub(in crate::pipeline) fn share(churned: &[bool]) -> f64 {
    mean(churned.iter().map(|churned| f64::from(u8::from(*churned))))
}

/// Rounds `value` to four decimal places.
pub(in crate::pipeline) fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_is_the_share_of_ordered_pairs() {
        // By hand: four of the six pairs are in order and one is a tie.
        let churned = [true, false, true, false, false];
        assert!((auc(&[0.9, 0.1, 0.4, 0.4, 0.6], &churned) - 4.5 / 6.0).abs() < 1e-12);
        assert!((auc(&[1.0, 2.0], &[true, true]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn bins_have_equal_size_and_show_the_calibration_error() {
        let probabilities: Vec<f64> = (0..100).map(|at| f64::from(at) / 100.0).collect();
        let churned: Vec<bool> = (0..100).map(|at| at >= 50).collect();
        let bins = bins(&probabilities, &churned);
        assert!(bins.len() == 10 && bins.iter().all(|bin| bin.customers == 10));
        assert!((bins[9].lift - 2.0).abs() < 1e-9 && (bins[0].seen).abs() < 1e-9);
        // By hand: |0.045-0|, |0.145-0|, … |0.445-0|, |0.545-1|, … |0.945-1|: mean 0.25.
        assert!((figures("x", &probabilities, &churned).calibration_error - 0.25).abs() < 1e-9);
    }
}
