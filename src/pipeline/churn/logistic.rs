//! Logistic regression with an L2 penalty, fitted by Newton's method (iteratively reweighted least squares).
//!
//! Implemented here because crates bring a matrix library and an optimizer, add up in an order that depends
//! on threads, or both. Rows are summed sequentially, so the same rows give bit-identical weights.

/// Greatest number of Newton steps; fits converge in far fewer.
const MAX_STEPS: usize = 25;
/// Greatest change of a weight, by absolute value, at which the fit has converged.
const TOLERANCE: f64 = 1e-9;

/// Intercept and weights of a fit to standardized columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LogisticRegression {
    pub(super) intercept: f64,
    pub(super) weights: Vec<f64>,
}

/// Returns the probability for the log-odds `x`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns the log-odds of the probability `p`, which is clamped away from 0 and 1.
pub(super) fn logit(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

impl LogisticRegression {
    /// Fits `columns` to `labels`. The penalty is `penalty` / 2 times the square of each weight; the
    /// intercept has none.
    pub(super) fn fit(columns: &[Vec<f64>], labels: &[bool], penalty: f64) -> Self {
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
            let step = solve(hessian, gradient, size);
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
    pub(super) fn scores(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let mut scores = vec![self.intercept; rows];
        for (column, weight) in columns.iter().zip(&self.weights) {
            scores.iter_mut().zip(column).for_each(|(score, value)| *score += weight * value);
        }
        scores
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
        let fitted = LogisticRegression::fit(&[first, second], &labels, 0.0);
        let found = [fitted.intercept, fitted.weights[0], fitted.weights[1]];
        assert!(found.iter().zip([0.5, 1.0, -2.0]).all(|(f, w)| (f - w).abs() < 0.01), "{found:?}");
    }

    #[test]
    fn separable_data_gives_finite_weights() {
        let column: Vec<f64> = (0..40).map(|at| f64::from(at) - 19.5).collect();
        let labels: Vec<bool> = column.iter().map(|x| *x > 0.0).collect();
        let fitted = LogisticRegression::fit(&[column], &labels, 0.1);
        assert!(fitted.weights[0].is_finite() && fitted.weights[0] > 0.0, "{fitted:?}");
    }
}
