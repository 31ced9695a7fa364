//! Maximizes a smooth function of a few positive parameters: quasi-Newton (BFGS) on the logarithms of the
//! parameters.
//!
//! Deterministic. The result says whether the search converged: a likelihood without a maximum does not.
//! Source: Nocedal and Wright, Numerical Optimization, 2nd edition (2006), algorithm 6.1, with a backtracking
//! line search.

/// Greatest number of steps.
const MAX_STEPS: usize = 200;
/// Greatest partial derivative, by absolute value, at which the search has converged.
const GRADIENT_TOLERANCE: f64 = 1e-6;

/// The maximum that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::pipeline) struct Maximum<const N: usize> {
    /// The parameters.
    pub(in crate::pipeline) at: [f64; N],
    /// The value of the function at these parameters.
    pub(in crate::pipeline) value: f64,
    pub(in crate::pipeline) converged: bool,
}

/// A point of the search: logarithms of the parameters, and the negated function with its gradient there.
#[derive(Clone, Copy)]
struct Point<const N: usize> {
    logs: [f64; N],
    value: f64,
    gradient: [f64; N],
}

impl<const N: usize> Point<N> {
    /// Evaluates `function`, which returns its value and its derivatives by the parameters, at the
    /// exponentials of `logs`.
    fn evaluate(logs: [f64; N], function: &impl Fn(&[f64; N]) -> (f64, [f64; N])) -> Self {
        let parameters = logs.map(f64::exp);
        let (value, derivatives) = function(&parameters);
        let mut gradient = [0.0; N];
        for (slope, (derivative, parameter)) in gradient.iter_mut().zip(derivatives.iter().zip(parameters)) {
            *slope = -derivative * parameter;
        }
        Self { logs, value: -value, gradient }
    }
}

/// Maximizes `function` from the parameters `start`. `function` returns its value and its derivatives by the
/// parameters.
pub(in crate::pipeline) fn maximize<const N: usize>(
    start: [f64; N],
    function: impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Maximum<N> {
    let mut point = Point::evaluate(start.map(f64::ln), &function);
    let mut inverse_hessian = identity::<N>();
    let mut converged = false;
    for _ in 0..MAX_STEPS {
        if point.gradient.iter().all(|slope| slope.abs() < GRADIENT_TOLERANCE) {
            converged = true;
            break;
        }
        let mut step = inverse_hessian.map(|row| -dot(&row, &point.gradient));
        if dot(&step, &point.gradient) >= 0.0 {
            inverse_hessian = identity();
            step = point.gradient.map(|slope| -slope);
        }
        let Some(next) = line_search(&point, &step, &function) else { break };
        update_inverse_hessian(&mut inverse_hessian, &point, &next);
        point = next;
    }
    Maximum {
        at: point.logs.map(f64::exp),
        value: -point.value,
        converged: converged && point.value.is_finite(),
    }
}

/// Returns the first point along `step` that decreases the negated function enough (Armijo), halving the step
/// each time.
fn line_search<const N: usize>(
    from: &Point<N>,
    step: &[f64; N],
    function: &impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Option<Point<N>> {
    // Limits the change of each parameter to a factor of e.
    let longest = step.iter().fold(1.0_f64, |longest, part| longest.max(part.abs()));
    let (mut scale, descent) = (1.0 / longest, dot(step, &from.gradient));
    loop {
        let mut logs = from.logs;
        logs.iter_mut().zip(step).for_each(|(log, part)| *log += scale * part);
        let next = Point::evaluate(logs, function);
        if next.value <= from.value + 1e-4 * scale * descent {
            return Some(next);
        }
        scale /= 2.0;
        if scale < 1e-12 {
            return None;
        }
    }
}

/// Applies the BFGS update for the step from `from` to `to`. Skips the update where the curvature is not
/// positive.
fn update_inverse_hessian<const N: usize>(inverse: &mut [[f64; N]; N], from: &Point<N>, to: &Point<N>) {
    let (mut moved, mut turned) = ([0.0; N], [0.0; N]);
    for at in 0..N {
        (moved[at], turned[at]) = (to.logs[at] - from.logs[at], to.gradient[at] - from.gradient[at]);
    }
    let curvature = dot(&moved, &turned);
    if curvature > 1e-14 {
        let along = inverse.map(|row| dot(&row, &turned));
        let factor = (1.0 + dot(&turned, &along) / curvature) / curvature;
        for i in 0..N {
            for j in 0..N {
                inverse[i][j] +=
                    factor * moved[i] * moved[j] - (along[i] * moved[j] + moved[i] * along[j]) / curvature;
            }
        }
    }
}

fn identity<const N: usize>() -> [[f64; N]; N] {
    let mut matrix = [[0.0; N]; N];
    for (at, row) in matrix.iter_mut().enumerate() {
        row[at] = 1.0;
    }
    matrix
}

fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maximum_is_found_and_divergence_is_reported() {
        // Two correlated parameters with the maximum at (2, 3).
        let hill = |at: &[f64; 2]| {
            let (x, y) = (at[0].ln() - 2.0_f64.ln(), at[1].ln() - 3.0_f64.ln());
            let value = -(x * x + 1.8 * x * y + y * y);
            (value, [-(2.0 * x + 1.8 * y) / at[0], -(1.8 * x + 2.0 * y) / at[1]])
        };
        let maximum = maximize([1.0, 1.0], hill);
        let [x, y] = maximum.at;
        assert!(maximum.converged && (x - 2.0).abs() < 1e-4 && (y - 3.0).abs() < 1e-4, "{maximum:?}");
        let unbounded = maximize([1.0], |at: &[f64; 1]| (at[0].ln(), [1.0 / at[0]]));
        assert!(!unbounded.converged && unbounded.at[0] > 1e6, "{unbounded:?}");
    }
}
