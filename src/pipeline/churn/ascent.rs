//! The maximum of a smooth function of a few positive parameters: quasi-Newton (BFGS) on their logarithms.
//!
//! Deterministic. Says when it did not converge, for that is what a likelihood without a maximum looks like. Knows nothing of customers.

/// Steps at most.
const STEPS: usize = 200;
/// Where no partial derivative is greater, the top is reached.
const FLAT: f64 = 1e-6;

/// The top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Top<const N: usize> {
    pub(super) at: [f64; N],
    pub(super) value: f64,
    pub(super) converged: bool,
}

/// Climbs from `start`. `function` gives its value and its derivatives by the parameters.
pub(super) fn climb<const N: usize>(
    start: [f64; N],
    function: impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Top<N> {
    // By logarithms, and downhill.
    let look = |logs: &[f64; N]| {
        let at = logs.map(f64::exp);
        let (value, by_parameter) = function(&at);
        let mut slope = [0.0; N];
        for (slope, (part, at)) in slope.iter_mut().zip(by_parameter.iter().zip(at)) {
            *slope = -part * at;
        }
        (-value, slope)
    };
    let mut logs = start.map(f64::ln);
    let (mut value, mut slope) = look(&logs);
    let mut inverse = unit::<N>();
    let mut converged = false;
    for _ in 0..STEPS {
        if slope.iter().all(|part| part.abs() < FLAT) {
            converged = true;
            break;
        }
        let mut step = inverse.map(|row| -dot(&row, &slope));
        if dot(&step, &slope) >= 0.0 {
            inverse = unit();
            step = slope.map(|part| -part);
        }
        // No parameter grows or shrinks more than a factor of e at once.
        let longest = step.iter().fold(1.0_f64, |longest, part| longest.max(part.abs()));
        let (mut scale, down) = (1.0 / longest, dot(&step, &slope));
        let next = loop {
            let mut there = logs;
            there.iter_mut().zip(step).for_each(|(log, part)| *log += scale * part);
            let (reached, steepness) = look(&there);
            if reached <= value + 1e-4 * scale * down {
                break Some((there, reached, steepness));
            }
            scale /= 2.0;
            if scale < 1e-12 {
                break None;
            }
        };
        let Some((there, reached, steepness)) = next else { break };
        let (mut moved, mut turned) = ([0.0; N], [0.0; N]);
        for at in 0..N {
            (moved[at], turned[at]) = (there[at] - logs[at], steepness[at] - slope[at]);
        }
        (logs, value, slope) = (there, reached, steepness);
        let curvature = dot(&moved, &turned);
        if curvature > 1e-14 {
            let along = inverse.map(|row| dot(&row, &turned));
            let factor = (1.0 + dot(&turned, &along) / curvature) / curvature;
            for i in 0..N {
                for j in 0..N {
                    inverse[i][j] += factor * moved[i] * moved[j]
                        - (along[i] * moved[j] + moved[i] * along[j]) / curvature;
                }
            }
        }
    }
    Top { at: logs.map(f64::exp), value: -value, converged: converged && value.is_finite() }
}

fn unit<const N: usize>() -> [[f64; N]; N] {
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
    fn the_top_of_a_hill_is_found_and_one_without_a_top_is_told() {
        // Two parameters that lean on each other: the top is at (2, 3).
        let hill = |at: &[f64; 2]| {
            let (x, y) = (at[0].ln() - 2.0_f64.ln(), at[1].ln() - 3.0_f64.ln());
            let value = -(x * x + 1.8 * x * y + y * y);
            (value, [-(2.0 * x + 1.8 * y) / at[0], -(1.8 * x + 2.0 * y) / at[1]])
        };
        let top = climb([1.0, 1.0], hill);
        assert!(top.converged && (top.at[0] - 2.0).abs() < 1e-4 && (top.at[1] - 3.0).abs() < 1e-4, "{top:?}");
        let endless = climb([1.0], |at: &[f64; 1]| (at[0].ln(), [1.0 / at[0]]));
        assert!(!endless.converged && endless.at[0] > 1e6, "{endless:?}");
    }
}
