//! Pseudo-random numbers that are the same in every run.

/// A linear congruential generator; the field is its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Returns a number above 0 and below 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        unit.max(1e-12)
    }

    /// Returns a whole number below `end`.
    #[cfg(feature = "cluster")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small numbers"
    )]
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() * end as f64) as u64
    }

    /// Returns an exponentially distributed waiting time of mean 1 / `rate`.
    pub(crate) fn wait(&mut self, rate: f64) -> f64 {
        -self.next().ln() / rate
    }

    /// Returns a number of the gamma distribution with `shape` and rate 1 (Marsaglia and Tsang 2000).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.next().powf(1.0 / shape);
        }
        let (d, c) = (shape - 1.0 / 3.0, 1.0 / (9.0 * shape - 3.0).sqrt());
        loop {
            let normal = (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos();
            let v = (1.0 + c * normal).powi(3);
            if v > 0.0 && self.next().ln() < normal * normal / 2.0 + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}
