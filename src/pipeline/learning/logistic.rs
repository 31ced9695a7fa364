//! Logistic regression with an L2 penalty and optional signs of the weights, fitted by Newton's method
//! (iteratively reweighted least squares).
//!
//! Implemented here because crates bring a matrix library and an optimizer, add up in an order that depends
//! on threads, or both. Rows are summed sequentially, so the same rows give bit-identical weights.

use serde::{Deserialize, Serialize};

use super::Direction;

/// Greatest number of Newton steps; fits converge in far fewer.
const MAX_STEPS: usize = 25;
/// Greatest change of a weight, by absolute value, at which the fit has converged.
const TOLERANCE: f64 = 1e-9;
/// Greatest number of passes over the weights of a step with signs.
const MAX_PASSES: usize = 1_000;

/// Intercept and weights of a fit to standardized columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct LogisticRegression {
    pub(in crate::pipeline) intercept: f64,
    pub(in crate::pipeline) weights: Vec<f64>,
}

/// Returns the probability for the log-odds `x`.
pub(in crate::pipeline) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns the log-odds of the probability `p`, which is clamped away from 0 and 1.
pub(in crate::pipeline) fn logit(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

impl LogisticRegression {
    /// Fits `columns` to `labels`. The penalty is `penalty` / 2 times the square of each weight; the
    /// intercept has none. The weights have the signs that `directions` allow.
    pub(in crate::pipeline) fn fit(
        columns: &[Vec<f64>],
        labels: &[bool],
        penalty: f64,
        directions: &[Direction],
    ) -> Self {
        let size = columns.len() + 1;
        let mut beta = vec![0.0; size];
        let mut row = vec![1.0; size];
        for _ in 0..MAX_STEPS {
            let mut gradient: Vec<f64> =
                beta.iter().enumerate().map(|(at, b)| if at == 0 { 0.0 } else { -penalty * b }).collect();
            let mut hessian = vec![0.0; size * size];
            for at in 1..size {
                hessian[at * size + at] = penalty;
            }
            for (number, label) in labels.iter().enumerate() {
                for (place, column) in row[1..].iter_mut().zip(columns) {
                    *place = column[number];
                }
                let p = sigmoid(dot(&beta, &row));
                let (error, weight) = (f64::from(u8::from(*label)) - p, (p * (1.0 - p)).max(1e-9));
                for i in 0..size {
                    gradient[i] += error * row[i];
                    let scaled = weight * row[i];
                    for j in 0..=i {
                        hessian[i * size + j] += scaled * row[j];
                    }
                }
            }
            let step = NewtonStep { hessian: &hessian, gradient: &gradient, beta: &beta, directions }.solve();
            let largest = step.iter().fold(0.0_f64, |largest, s| largest.max(s.abs()));
            // Separable data causes very long steps; shortened steps lead in the same direction.
            let scale = if largest > 5.0 { 5.0 / largest } else { 1.0 };
            beta.iter_mut().zip(&step).for_each(|(b, s)| *b += scale * s);
            if largest < TOLERANCE {
                break;
            }
        }
        Self { intercept: beta[0], weights: beta[1..].to_vec() }
    }

    /// Returns the log-odds of each of the `rows` rows.
    pub(in crate::pipeline) fn scores(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let mut scores = vec![self.intercept; rows];
        for (column, weight) in columns.iter().zip(&self.weights) {
            scores.iter_mut().zip(column).for_each(|(score, value)| *score += weight * value);
        }
        scores
    }
}

/// A Newton step: the change of `beta` that maximizes the quadratic approximation of the log-likelihood.
struct NewtonStep<'a> {
    /// Lower triangle by rows.
    hessian: &'a [f64],
    gradient: &'a [f64],
    beta: &'a [f64],
    directions: &'a [Direction],
}

impl NewtonStep<'_> {
    /// Returns the weight at `place` with the nearest allowed value; place 0 is the intercept.
    fn allowed(&self, place: usize, weight: f64) -> f64 {
        match place.checked_sub(1).map(|column| self.directions[column]) {
            Some(Direction::Rising) => weight.max(0.0),
            Some(Direction::Falling) => weight.min(0.0),
            Some(Direction::Any) | None => weight,
        }
    }

    fn solve(&self) -> Vec<f64> {
        let size = self.beta.len();
        let step = solve(self.hessian.to_vec(), self.gradient.to_vec(), size);
        let is_allowed = |at: usize| {
            let weight = self.beta[at] + step[at];
            (self.allowed(at, weight) - weight).abs() <= 0.0
        };
        if (0..size).all(is_allowed) { step } else { self.solve_with_signs() }
    }

    /// Maximizes by coordinate ascent, which converges since the penalty makes the approximation strictly
    /// concave.
    fn solve_with_signs(&self) -> Vec<f64> {
        let size = self.beta.len();
        let curvature = |i: usize, j: usize| self.hessian[i.max(j) * size + i.min(j)];
        let (mut step, mut slope) = (vec![0.0; size], self.gradient.to_vec());
        for _ in 0..MAX_PASSES {
            let mut largest = 0.0_f64;
            for at in 0..size {
                let now = self.beta[at] + step[at];
                let change = self.allowed(at, now + slope[at] / curvature(at, at).max(1e-12)) - now;
                if change.abs() > 0.0 {
                    step[at] += change;
                    slope.iter_mut().enumerate().for_each(|(i, slope)| *slope -= curvature(i, at) * change);
                }
                largest = largest.max(change.abs());
            }
            if largest < TOLERANCE / 10.0 {
                break;
            }
        }
        step
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves `matrix` · x = `right` by Cholesky decomposition. Reads only the lower triangle of the symmetric
/// matrix.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>, size: usize) -> Vec<f64> {
    for i in 0..size {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| matrix[i * size + k] * matrix[j * size + k]).sum();
            let rest = matrix[i * size + j] - sum;
            matrix[i * size + j] = if i == j { rest.max(1e-12).sqrt() } else { rest / matrix[j * size + j] };
        }
    }
    for i in 0..size {
        let sum: f64 = (0..i).map(|k| matrix[i * size + k] * right[k]).sum();
        right[i] = (right[i] - sum) / matrix[i * size + i];
    }
    for i in (0..size).rev() {
        let sum: f64 = (i + 1..size).map(|k| matrix[k * size + i] * right[k]).sum();
        right[i] = (right[i] - sum) / matrix[i * size + i];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_recovers_known_weights() {
        // A grid of two columns. Labels occur in exactly the share that the weights 0.5, 1 and -2 give.
        let (mut first, mut second, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for i in -4..=4 {
            for j in -4..=4 {
                let (x, y) = (f64::from(i) / 2.0, f64::from(j) / 4.0);
                let p = sigmoid(0.5 + x - 2.0 * y);
                for k in 0..1_000 {
                    first.push(x);
                    second.push(y);
                    labels.push(f64::from(k) + 0.5 < p * 1_000.0);
                }
            }
        }
        let fitted = LogisticRegression::fit(&[first, second], &labels, 0.0, &[Direction::Any; 2]);
        let found = [fitted.intercept, fitted.weights[0], fitted.weights[1]];
        assert!(found.iter().zip([0.5, 1.0, -2.0]).all(|(f, w)| (f - w).abs() < 0.01), "{found:?}");
    }

    #[test]
    fn separable_data_gives_finite_weights() {
        let column: Vec<f64> = (0..40).map(|at| f64::from(at) - 19.5).collect();
        let labels: Vec<bool> = column.iter().map(|x| *x > 0.0).collect();
        let fitted = LogisticRegression::fit(&[column], &labels, 0.1, &[Direction::Any]);
        assert!(fitted.weights[0].is_finite() && fitted.weights[0] > 0.0, "{fitted:?}");
    }

    #[test]
    fn weights_have_the_allowed_signs_and_the_others_adapt() {
        // The second column is the negated first one with noise; both raise the outcome.
        let first: Vec<f64> = (0..400).map(|at| f64::from(at % 40) / 20.0 - 1.0).collect();
        let second: Vec<f64> = first.iter().zip(0..).map(|(x, at)| f64::from(at % 7) / 3.0 - x).collect();
        let labels: Vec<bool> = (first.iter().zip(&second).zip(0..))
            .map(|((x, y), at)| 2.0 * x + y + f64::from(at % 5) > 3.0)
            .collect();
        let fit = |directions: &[Direction]| {
            LogisticRegression::fit(&[first.clone(), second.clone()], &labels, 2.0, directions)
        };
        let free = fit(&[Direction::Any; 2]);
        assert!(free.weights[0] > 0.0 && free.weights[1] > 0.0, "{free:?}");
        let signed = fit(&[Direction::Any, Direction::Falling]);
        let alone = LogisticRegression::fit(std::slice::from_ref(&first), &labels, 2.0, &[Direction::Any]);
        assert!(signed.weights[1].abs() < 1e-12, "{signed:?}");
        assert!((signed.weights[0] - alone.weights[0]).abs() < 1e-6, "{signed:?} {alone:?}");
        // Signs that the free fit has anyway change nothing.
        let same = fit(&[Direction::Rising; 2]);
        assert!((same.weights[0] - free.weights[0]).abs() < 1e-9, "{same:?} {free:?}");
    }
}
