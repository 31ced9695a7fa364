//! Special functions of the purchase models: ln Γ, its derivative ψ (digamma), and the Gaussian
//! hypergeometric function ₂F₁.

/// Returns ln Γ(x) for x > 0.
pub(in crate::pipeline) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Returns the derivative of ln Γ at x > 0. Shifts x up by the recurrence of ψ until the asymptotic series
/// (Abramowitz and Stegun 6.3.18) is exact to the last digit.
pub(in crate::pipeline) fn digamma(mut x: f64) -> f64 {
    let mut shifted = 0.0;
    while x < 10.0 {
        shifted -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = square
        * (1.0 / 12.0
            - square
                * (1.0 / 120.0 - square * (1.0 / 252.0 - square * (1.0 / 240.0 - square * (1.0 / 132.0)))));
    shifted + x.ln() - 0.5 / x - series
}

/// Returns ₂F₁(a, b; c; z) for 0 ≤ z < 1 and c > 0 by its power series (Abramowitz and Stegun 15.1.1).
pub(in crate::pipeline) fn hypergeometric(a: f64, b: f64, c: f64, z: f64) -> f64 {
    /// Greatest number of terms. The series converges slowly near z = 1; the remainder after these terms is
    /// smaller than the rounding of money.
    const MAX_TERMS: u32 = 20_000;
    let (mut sum, mut term) = (1.0_f64, 1.0_f64);
    for place in (0..MAX_TERMS).map(f64::from) {
        term *= (a + place) * (b + place) / ((c + place) * (place + 1.0)) * z;
        sum += term;
        if term.abs() <= 1e-15 * sum.abs() {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn ln_gamma_and_digamma_match_published_tables() {
        // Γ(1/2) = √π, Γ(5) = 24, Γ(100) = 99!.
        close(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        close(ln_gamma(5.0), 24.0_f64.ln());
        close(ln_gamma(100.0), (1..100).map(|k| f64::from(k).ln()).sum());
        // Abramowitz and Stegun, table 6.1: ψ(1) = −γ, ψ(1.5), ψ(2); and ψ(1/2) = −γ − 2 ln 2.
        let euler = 0.577_215_664_901_532_9;
        close(digamma(1.0), -euler);
        close(digamma(1.5), 0.036_489_973_978_576_5);
        close(digamma(2.0), 1.0 - euler);
        close(digamma(0.5), -euler - 2.0 * std::f64::consts::LN_2);
    }

    #[test]
    fn hypergeometric_matches_closed_forms() {
        // Abramowitz and Stegun 15.1.3, 15.1.8 and 15.1.6.
        for z in [0.0_f64, 0.1, 0.5, 0.9] {
            let expected = if z > 0.0 { -(1.0 - z).ln() / z } else { 1.0 };
            close(hypergeometric(1.0, 1.0, 2.0, z), expected);
            close(hypergeometric(0.7, 3.0, 3.0, z), (1.0 - z).powf(-0.7));
            let root = z.sqrt();
            let expected = if z > 0.0 { root.asin() / root } else { 1.0 };
            close(hypergeometric(0.5, 0.5, 1.5, z), expected);
        }
        // With a negative integer parameter the series is a polynomial (15.4.1): 1 − 2·(3/4)z + (12/20)z².
        close(hypergeometric(-2.0, 3.0, 4.0, 0.5), 1.0 - 0.75 + 0.15);
    }
}
