//! Random numbers that are identical on every machine.
//!
//! `ChaCha8` has a stream fixed by its specification, and logarithms and exponentials are computed with IEEE
//! arithmetic alone, since those of a system's libm differ in the last digit.

use std::f64::consts::LN_2;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// An independent stream of random numbers, determined by seed and stream number.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// Creates the stream `stream` of `seed`.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Draws a uniform number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws a uniform whole number in 0, 1, … `end` - 1.
    pub(super) fn below(&mut self, end: u32) -> usize {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as usize
    }

    /// Returns `true` with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Draws an index by weight, given as cumulative sums up to 1.
    pub(super) fn choose(&mut self, sums: &[f64]) -> usize {
        let at = self.unit();
        sums.partition_point(|sum| *sum <= at).min(sums.len() - 1)
    }

    /// Draws from the exponential distribution with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -ln(1.0 - self.unit())
    }

    /// Draws from the standard normal distribution (Marsaglia's polar method).
    pub(super) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }

    /// Draws from the log-normal distribution with the given median and standard deviation of the logarithm.
    pub(super) fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * exp(spread * self.normal())
    }

    /// Draws from the gamma distribution with mean 1 (Marsaglia and Tsang).
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape + 1.0 - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            if v > 0.0 && ln(1.0 - self.unit()) < 0.5 * x * x + d - d * v + d * ln(v) {
                return d * v * exp(ln(1.0 - self.unit()) / shape) / shape;
            }
        }
    }
}

/// Returns the natural logarithm of a positive, normal number.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 0x3FF0_0000_0000_0000);
    let (mantissa, exponent) =
        if mantissa > 1.5 { (mantissa / 2.0, exponent + 1) } else { (mantissa, exponent) };
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..11_u32).rev().fold(0.0, |sum, k| sum * s * s + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// Returns the exponential of a number between -700 and 700, and 0 below.
pub(super) fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let power = (x.min(700.0) / LN_2).round();
    let rest = x.min(700.0) - power * LN_2;
    let series = (1..16_u32).rev().fold(1.0, |sum, k| 1.0 + sum * rest / f64::from(k));
    series * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

/// Returns the cumulative sums of `weights`, scaled so that the last is 1.
pub(super) fn cumulative_sums(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(1.0);
    for sum in &mut sums {
        *sum /= total;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_exponential_agree_with_libm() {
        for x in [1e-17, 0.003, 0.5, 0.999_999, 1.0, 1.5, 2.0, 31.7, 9.9e12] {
            assert!((ln(x) - x.ln()).abs() <= 1e-13 * x.ln().abs().max(1.0), "ln {x}");
        }
        for x in [-699.0, -3.3, -1e-9, 0.0, 0.4, 1.0, 12.5, 300.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp {x}");
        }
    }

    #[test]
    fn distributions_have_the_expected_means() {
        let mut dice = Dice::new(1, 2);
        let mut mean =
            |draw: fn(&mut Dice) -> f64| (0..40_000).map(|_| draw(&mut dice)).sum::<f64>() / 40_000.0;
        assert!((mean(Dice::exponential) - 1.0).abs() < 0.03);
        assert!(mean(Dice::normal).abs() < 0.03);
        assert!((mean(|dice| dice.gamma(0.7)) - 1.0).abs() < 0.04);
        assert!((mean(|dice| dice.below(5) as f64) - 2.0).abs() < 0.05);
    }

    #[test]
    fn draws_match_known_values() {
        let mut dice = Dice::new(42, 7);
        assert_eq!((dice.below(1_000), dice.below(1_000)), (634, 185));
        let draws = [dice.unit(), dice.gamma(0.7), dice.log_normal(5.0, 0.5)];
        let known = [0x3FE2_924E_9719_F117, 0x3FEF_5A7D_97A1_7C40, 0x401C_F669_A4BE_E478];
        assert_eq!(draws.map(f64::to_bits), known);
    }
}
