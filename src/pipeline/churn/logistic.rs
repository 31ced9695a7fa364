//! Logistic regression with a quadratic penalty, by Newton's method: columns of numbers in, weights out.
//!
//! A page of arithmetic, and owned for that reason: what crates offer brings a matrix library and an optimizer, sums in an order
//! that depends on threads, or both. Rows are summed one after the other, so that the same rows give the same weights to the bit.
//! Knows nothing of customers.

/// Steps of Newton's method; it has converged long before.
const STEPS: usize = 25;
/// Where a step changes no weight by more than this, it has.
const SMALL: f64 = 1e-9;

/// The weights of standardized columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Logistic {
    pub(super) intercept: f64,
    pub(super) weights: Vec<f64>,
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Log-odds; of what is certain, those of nearly certain.
pub(super) fn logit(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

impl Logistic {
    /// Fits `columns` to `labels`. The intercept goes without penalty, each weight with `penalty` × its square / 2.
    pub(super) fn fit(columns: &[Vec<f64>], labels: &[bool], penalty: f64) -> Self {
        let size = columns.len() + 1;
        let mut beta = vec![0.0; size];
        let mut row = vec![1.0; size];
        for _ in 0..STEPS {
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
            // Far steps come from data that separates; shortened they still lead there.
            let scale = if largest > 5.0 { 5.0 / largest } else { 1.0 };
            beta.iter_mut().zip(&step).for_each(|(b, s)| *b += scale * s);
            if largest < SMALL {
                break;
            }
        }
        Self { intercept: beta[0], weights: beta[1..].to_vec() }
    }

    /// The log-odds of each of `rows` rows.
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

/// Solves `matrix` · x = `right` by Cholesky; of the symmetric matrix only the lower half is read.
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
    fn planted_weights_are_found_again() {
        // A grid of two columns whose labels appear in exactly the share that the weights 0.5, 1 and -2 give.
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
        let fitted = Logistic::fit(&[first, second], &labels, 0.0);
        let found = [fitted.intercept, fitted.weights[0], fitted.weights[1]];
        assert!(found.iter().zip([0.5, 1.0, -2.0]).all(|(f, w)| (f - w).abs() < 0.01), "{found:?}");
    }

    #[test]
    fn data_that_separates_stays_finite() {
        let column: Vec<f64> = (0..40).map(|at| f64::from(at) - 19.5).collect();
        let labels: Vec<bool> = column.iter().map(|x| *x > 0.0).collect();
        let fitted = Logistic::fit(&[column], &labels, 0.1);
        assert!(fitted.weights[0].is_finite() && fitted.weights[0] > 0.0, "{fitted:?}");
    }
}
