//! Gradient boosting of shallow trees over binned columns (Friedman 2001, with Newton steps): columns in, log-odds out.
//!
//! Owned because no crate fits: perpetual needs the nightly compiler and looks at the machine's free memory, others are
//! unkept or have no logistic loss. No row or column is drawn by lot, and sums run row after row: the same rows give the same
//! trees, on any number of threads. Time is linear in rows. Knows nothing of customers.

use super::logistic::{logit, sigmoid};

const ROUNDS: usize = 80;
const RATE: f64 = 0.06;
const DEPTH: usize = 3;
const BINS: usize = 32;
/// Added to the curvature of a leaf: small leaves say little.
const RIDGE: f64 = 5.0;

/// A node: the split and its children, or a leaf. What it adds to the log-odds is `value`; an inner node has one too, for
/// those who ask what a split has changed.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    value: f64,
    split: Option<Split>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    column: usize,
    /// Values up to here go left.
    edge: f64,
    bin: u8,
    left: usize,
    right: usize,
}

/// Trees whose values add up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trees {
    base: f64,
    trees: Vec<Vec<Node>>,
}

/// The edges of the bins of a column: quantiles, each once.
fn edges(column: &[f64]) -> Vec<f64> {
    let mut sorted = column.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..BINS).map(|k| sorted[(sorted.len() - 1) * k / BINS]).collect();
    edges.dedup();
    // Nothing lies above the greatest value.
    if edges.last() == sorted.last() {
        edges.pop();
    }
    edges
}

#[expect(clippy::cast_possible_truncation, reason = "there are at most 32 bins")]
fn bins(column: &[f64], edges: &[f64]) -> Vec<u8> {
    column.iter().map(|value| edges.partition_point(|edge| edge < value) as u8).collect()
}

impl Trees {
    /// Fits `columns` to `labels`.
    pub(super) fn fit(columns: &[Vec<f64>], labels: &[bool]) -> Self {
        let rows = labels.len();
        if rows == 0 {
            return Self { base: 0.0, trees: Vec::new() };
        }
        let edges: Vec<Vec<f64>> = columns.iter().map(|column| edges(column)).collect();
        let binned: Vec<Vec<u8>> =
            columns.iter().zip(&edges).map(|(column, edges)| bins(column, edges)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = labels.iter().filter(|label| **label).count() as f64 / rows as f64;
        let base = logit(share);
        let least = (rows / 100).max(20);
        let mut scores = vec![base; rows];
        let mut trees = Vec::with_capacity(ROUNDS);
        let mut gradients = vec![(0.0, 0.0); rows];
        for _ in 0..ROUNDS {
            for (at, gradient) in gradients.iter_mut().enumerate() {
                let p = sigmoid(scores[at]);
                *gradient = (f64::from(u8::from(labels[at])) - p, p * (1.0 - p));
            }
            let mut nodes = Vec::new();
            let all: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
            grow(
                &mut nodes,
                all,
                &Data { binned: &binned, edges: &edges, gradients: &gradients, least },
                DEPTH,
            );
            for (at, score) in scores.iter_mut().enumerate() {
                *score += walk(&nodes, |split| binned[split.column][at] <= split.bin, |_, _| ());
            }
            trees.push(nodes);
        }
        Self { base, trees }
    }

    /// The log-odds of each of `rows` rows.
    pub(super) fn scores(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let score = |row: usize| {
            let added =
                self.trees.iter().map(|nodes| walk(nodes, |s| columns[s.column][row] <= s.edge, |_, _| ()));
            self.base + added.sum::<f64>()
        };
        (0..rows).map(score).collect()
    }

    /// What each column adds to the log-odds of `row`: at every split on the way, the child's value less the node's.
    pub(super) fn contributions(&self, columns: &[Vec<f64>], row: usize) -> Vec<f64> {
        let mut parts = vec![0.0; columns.len()];
        for nodes in &self.trees {
            walk(nodes, |s| columns[s.column][row] <= s.edge, |column, change| parts[column] += change);
        }
        parts
    }

    /// How much of the change that all splits make each column has, by size.
    pub(super) fn importance(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let mut sums = vec![0.0; columns.len()];
        // A part of the rows shows it as well.
        for row in (0..rows).step_by((rows / 2_000).max(1)) {
            let parts = self.contributions(columns, row);
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part.abs());
        }
        let all: f64 = sums.iter().sum();
        sums.iter().map(|sum| if all > 0.0 { sum / all } else { 0.0 }).collect()
    }
}

/// Goes from the root to a leaf and returns its value; `seen` hears the column and the change of every split passed.
fn walk(nodes: &[Node], goes_left: impl Fn(&Split) -> bool, mut seen: impl FnMut(usize, f64)) -> f64 {
    let mut node = &nodes[0];
    while let Some(split) = &node.split {
        let child = &nodes[if goes_left(split) { split.left } else { split.right }];
        seen(split.column, child.value - node.value);
        node = child;
    }
    node.value
}

struct Data<'a> {
    binned: &'a [Vec<u8>],
    edges: &'a [Vec<f64>],
    gradients: &'a [(f64, f64)],
    least: usize,
}

/// Appends the node of `rows` and those below it; returns its place.
fn grow(nodes: &mut Vec<Node>, rows: Vec<u32>, data: &Data<'_>, depth: usize) -> usize {
    let (gradient, curvature) = rows.iter().fold((0.0, 0.0), |(g, h), row| {
        let (gradient, curvature) = data.gradients[*row as usize];
        (g + gradient, h + curvature)
    });
    let place = nodes.len();
    nodes.push(Node { value: RATE * gradient / (curvature + RIDGE), split: None });
    let Some((column, bin)) = (depth > 0).then(|| best(&rows, data, (gradient, curvature))).flatten() else {
        return place;
    };
    let binned = &data.binned[column];
    let (left, right) = rows.into_iter().partition(|row| binned[*row as usize] <= bin);
    let left = grow(nodes, left, data, depth - 1);
    let right = grow(nodes, right, data, depth - 1);
    nodes[place].split = Some(Split { column, edge: data.edges[column][bin as usize], bin, left, right });
    place
}

/// The column and bin whose split gains most, if any gains; of equals the first.
fn best(rows: &[u32], data: &Data<'_>, (gradient, curvature): (f64, f64)) -> Option<(usize, u8)> {
    let gain = |g: f64, h: f64| g * g / (h + RIDGE);
    let mut found = None;
    let mut most = 1e-6;
    for (column, binned) in data.binned.iter().enumerate() {
        let mut sums = [(0.0, 0.0, 0_usize); BINS];
        for row in rows {
            let (g, h) = data.gradients[*row as usize];
            let sum = &mut sums[binned[*row as usize] as usize];
            *sum = (sum.0 + g, sum.1 + h, sum.2 + 1);
        }
        let (mut g, mut h, mut count) = (0.0, 0.0, 0);
        for (bin, sum) in (0_u8..).zip(&sums[..data.edges[column].len()]) {
            (g, h, count) = (g + sum.0, h + sum.1, count + sum.2);
            if count < data.least || rows.len() - count < data.least {
                continue;
            }
            let gained = gain(g, h) + gain(gradient - g, curvature - h) - gain(gradient, curvature);
            if gained > most {
                (most, found) = (gained, Some((column, bin)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels that only the two columns together tell.
    fn corners() -> (Vec<Vec<f64>>, Vec<bool>) {
        let pairs = || (0..60).flat_map(|i| (0..60).map(move |j| (f64::from(i), f64::from(j))));
        let columns = vec![pairs().map(|(i, _)| i).collect(), pairs().map(|(_, j)| j).collect()];
        (columns, pairs().map(|(i, j)| i > 40.0 && j > 20.0).collect())
    }

    #[test]
    fn what_only_two_columns_together_tell_is_learned() {
        let (columns, labels) = corners();
        let trees = Trees::fit(&columns, &labels);
        let scores = trees.scores(&columns, labels.len());
        let right = scores.iter().zip(&labels).filter(|(score, label)| (**score > 0.0) == **label).count();
        assert!(right * 100 > labels.len() * 97, "{right} of {}", labels.len());
    }

    #[test]
    fn contributions_and_the_roots_add_up_to_the_score() {
        let (columns, labels) = corners();
        let trees = Trees::fit(&columns, &labels);
        let roots: f64 = trees.base + trees.trees.iter().map(|nodes| nodes[0].value).sum::<f64>();
        let scores = trees.scores(&columns, labels.len());
        for row in [0, 1_234, 3_599] {
            let parts: f64 = trees.contributions(&columns, row).iter().sum();
            assert!((roots + parts - scores[row]).abs() < 1e-9);
        }
    }

    #[test]
    fn a_constant_column_and_no_rows_are_no_trouble() {
        let labels: Vec<bool> = (0..100).map(|at| at % 4 == 0).collect();
        let trees = Trees::fit(&[vec![1.0; 100]], &labels);
        assert!((sigmoid(trees.scores(&[vec![1.0; 1]], 1)[0]) - 0.25).abs() < 1e-6);
        assert_eq!(Trees::fit(&[Vec::new()], &[]).scores(&[Vec::new()], 0), Vec::<f64>::new());
    }
}
