//! The purchase models: customers simulated by the BG/NBD process, with known parameters and a known future.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{
    dice::Dice,
    lists::{card, csv, greatest_bin_error, pages},
    shop::Shop,
};

/// Days of a simulated week: four times the real number, so that two purchases rarely fall on one day.
const WEEK: f64 = 28.0;
/// BG/NBD parameters published for CDNOW; times in days.
const R: f64 = 0.243;
const ALPHA: f64 = 4.414 * WEEK;
const A: f64 = 0.793;
const B: f64 = 2.426;
/// Gamma-gamma parameters published for CDNOW.
const P: f64 = 6.25;
const Q: f64 = 3.74;
const GAMMA: f64 = 15.44;
/// As in CDNOW, customers arrive within a quarter and are observed for a year and a half.
const COMING: f64 = 12.0 * WEEK;
const WATCHED: f64 = 78.0 * WEEK;
const HORIZON: f64 = 360.0;
const CUSTOMERS: usize = 4_000;

/// The known future of a customer at the end of the observation.
struct Truth {
    /// Probability of no purchase within the horizon; 1 for a customer who has left.
    none: f64,
    /// The same probability given the true parameters and the observed purchases.
    posterior: f64,
    /// Whether the customer makes no purchase within the horizon.
    churns: bool,
}

/// Simulates the customers. Returns the lines, and the known future by customer.
fn simulate() -> (Vec<String>, BTreeMap<String, Truth>) {
    let start: DateTime<Utc> = "1997-01-01T00:00:00Z".parse().unwrap();
    let mut dice = Dice(11);
    let (mut lines, mut truth) = (Vec::new(), BTreeMap::new());
    for number in 0..CUSTOMERS {
        let id = format!("c{number:05}");
        let rate = dice.gamma(R) / ALPHA;
        let (a, b) = (dice.gamma(A), dice.gamma(B));
        let leaves = a / (a + b);
        let worth_rate = dice.gamma(Q) / GAMMA;
        let (came, mut at) = (dice.next() * COMING, 0.0);
        let watched = WATCHED - came;
        let (mut repeats, mut last, mut alive) = (0_u32, 0.0, true);
        let next = loop {
            if at < watched {
                let price = dice.gamma(P) / worth_rate;
                #[expect(clippy::cast_possible_truncation, reason = "seconds")]
                let time = start + TimeDelta::seconds(((came + at) * 86_400.0) as i64);
                let time = time.format("%Y-%m-%dT%H:%M:%SZ");
                lines.push(format!("{id},{id}-{repeats},cd,1,{:.2},{time}", price.max(0.01)));
                last = at;
            }
            let next = at + dice.wait(rate);
            if !alive || next >= watched {
                break if alive { next } else { f64::INFINITY };
            }
            at = next;
            repeats += 1;
            // A customer leaves after this purchase, which is still written.
            alive = dice.next() >= leaves;
        };
        let x = f64::from(repeats);
        let odds = if repeats == 0 {
            0.0
        } else {
            A / (B + x - 1.0) * ((ALPHA + watched) / (ALPHA + last)).powf(R + x)
        };
        let p_alive = 1.0 / (1.0 + odds);
        let posterior =
            1.0 - p_alive + p_alive * ((ALPHA + watched) / (ALPHA + watched + HORIZON)).powf(R + x);
        let none = if alive { (-rate * HORIZON).exp() } else { 1.0 };
        truth.insert(id, Truth { none, posterior, churns: next > watched + HORIZON });
    }
    (lines, truth)
}

/// Returns the area under the ROC curve for pairs of score and outcome; ties count half.
fn auc(mut scored: Vec<(f64, bool)>) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut pairs, mut gone) = (0.0, 0.0, 0.0);
    for same in scored.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let (of_gone, of_back) =
            same.iter().fold((0.0, 0.0), |(g, b), one| if one.1 { (g + 1.0, b) } else { (g, b + 1.0) });
        pairs += of_gone * (below + of_back / 2.0);
        below += of_back;
        gone += of_gone;
    }
    pairs / (below * gone)
}

#[tokio::test]
async fn purchase_models_recover_the_simulated_parameters() {
    let (lines, truth) = simulate();
    let toml = "value.enabled = false\nrecommendations.enabled = false\n\
                [churn]\nhorizon = \"360d\"\nmonotone = false\n";
    let shop = Shop::new(toml);
    shop.raw("transactions/x.csv", csv(&lines));
    let built = shop.try_build(Some("2002-12-25T00:00:00Z")).await.unwrap().manifest;
    shop.publish(&built.id).await;
    let service = shop.serve().await;
    let card = card(&built);
    let (total, all) = pages(&service, "/v1/churn?", 1_000).await;
    assert_eq!((total, card.trusted), (CUSTOMERS as u64, true), "{:?}", card.reasons);

    let models = card.purchases.as_ref().unwrap();
    assert!(models.degenerate.is_empty(), "{:?}", models.degenerate);
    let near = |name: &str, found: f64, planted: f64, share: f64| {
        assert!((found / planted - 1.0).abs() < share, "{name} is {found}, expected {planted}: {models:?}");
    };
    let fit = models.bg_nbd.as_ref().unwrap();
    let (a, b) = (fit.a.unwrap(), fit.b.unwrap());
    near("r", fit.r, R, 0.1);
    near("alpha", fit.alpha, ALPHA, 0.15);
    near("a", a, A, 0.3);
    near("b", b, B, 0.3);
    near("the mean chance of leaving", a / (a + b), A / (A + B), 0.1);
    let worth = models.gamma_gamma.as_ref().unwrap();
    near("p", worth.p, P, 0.1);
    near("q", worth.q, Q, 0.15);
    near("the mean worth", worth.p * worth.gamma / (worth.q - 1.0), P * GAMMA / (Q - 1.0), 0.1);

    let served: BTreeMap<&str, f64> = all
        .iter()
        .map(|(id, views)| (id.as_str(), views["churn"]["probability"].as_f64().unwrap()))
        .collect();
    let worst =
        greatest_bin_error(truth.iter().map(|(id, truth)| (served[id.as_str()], truth.none)).collect());
    assert!(worst < 0.05, "a bin is off by {worst}");
    let reached = auc(truth.iter().map(|(id, truth)| (served[id.as_str()], truth.churns)).collect());
    let best = auc(truth.values().map(|truth| (truth.posterior, truth.churns)).collect());
    println!(
        "AUC {reached:.4}, of the true model {best:.4}, chosen {}, a bin is off by {worst:.4}",
        card.chosen
    );
    assert!(best > 0.75 && reached > best - 0.01, "{reached} of {best}");
    for cut in &card.cuts {
        assert!(cut.candidates.iter().any(|figures| figures.name == "bg_nbd"), "{cut:?}");
    }
}
