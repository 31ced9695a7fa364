//! Gradient-boosted trees for binary labels: shallow regression trees over binned columns, with Newton steps.
//!
//! Source: Friedman, Greedy Function Approximation: A Gradient Boosting Machine, Annals of Statistics 29
//! (2001). Implemented here because no crate fits: perpetual needs the nightly compiler and adapts to the
//! free memory of the machine; other crates are unmaintained or have no logistic loss. There is no random
//! sampling of rows or columns, and rows are summed sequentially, so the same rows give identical trees on
//! any number of threads. Time is linear in rows.

use super::logistic::{logit, sigmoid};

/// Number of trees.
const ROUNDS: usize = 80;
/// Shrinkage of each tree's values.
const LEARNING_RATE: f64 = 0.06;
/// Greatest number of splits from the root to a leaf.
const MAX_DEPTH: usize = 3;
/// Greatest number of bins of a column.
const BINS: usize = 32;
/// L2 regularization: added to the curvature of a leaf, which shrinks the values of small leaves.
const RIDGE: f64 = 5.0;

/// A node of a tree: an inner node with a split, or a leaf.
///
/// `value` is the term that the node adds to the log-odds. Inner nodes have a value too, so that the effect
/// of a split is the difference between child and parent.
#[derive(Debug, Clone, PartialEq)]
struct TreeNode {
    value: f64,
    split: Option<Split>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    column: usize,
    /// Greatest value of the left child.
    edge: f64,
    bin: u8,
    left: usize,
    right: usize,
}

/// An ensemble of trees; the log-odds are `base` plus one leaf value per tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BoostedTrees {
    base: f64,
    trees: Vec<Vec<TreeNode>>,
}

/// Returns the upper edges of the bins of `column`: distinct quantiles.
fn bin_edges(column: &[f64]) -> Vec<f64> {
    let mut sorted = column.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..BINS).map(|k| sorted[(sorted.len() - 1) * k / BINS]).collect();
    edges.dedup();
    // The bin above the greatest value would be empty.
    if edges.last() == sorted.last() {
        edges.pop();
    }
    edges
}

#[expect(clippy::cast_possible_truncation, reason = "there are at most 32 bins")]
fn bins(column: &[f64], edges: &[f64]) -> Vec<u8> {
    column.iter().map(|value| edges.partition_point(|edge| edge < value) as u8).collect()
}

impl BoostedTrees {
    /// Fits `columns` to `labels`.
    pub(super) fn fit(columns: &[Vec<f64>], labels: &[bool]) -> Self {
        let rows = labels.len();
        if rows == 0 {
            return Self { base: 0.0, trees: Vec::new() };
        }
        let edges: Vec<Vec<f64>> = columns.iter().map(|column| bin_edges(column)).collect();
        let binned: Vec<Vec<u8>> =
            columns.iter().zip(&edges).map(|(column, edges)| bins(column, edges)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = labels.iter().filter(|label| **label).count() as f64 / rows as f64;
        let base = logit(share);
        let min_leaf = (rows / 100).max(20);
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
            let data = BinnedRows { binned: &binned, edges: &edges, gradients: &gradients, min_leaf };
            grow(&mut nodes, all, &data, MAX_DEPTH);
            for (at, score) in scores.iter_mut().enumerate() {
                *score += descend(&nodes, |split| binned[split.column][at] <= split.bin, |_, _| ());
            }
            trees.push(nodes);
        }
        Self { base, trees }
    }

    /// Returns the log-odds of each of the `rows` rows.
    pub(super) fn scores(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let score = |row: usize| {
            let added = self
                .trees
                .iter()
                .map(|nodes| descend(nodes, |s| columns[s.column][row] <= s.edge, |_, _| ()));
            self.base + added.sum::<f64>()
        };
        (0..rows).map(score).collect()
    }

    /// Returns the contribution of each column to the log-odds of `row`: the sum of (child value − node
    /// value) over the splits on this column along the row's paths.
    pub(super) fn contributions(&self, columns: &[Vec<f64>], row: usize) -> Vec<f64> {
        let mut parts = vec![0.0; columns.len()];
        for nodes in &self.trees {
            descend(nodes, |s| columns[s.column][row] <= s.edge, |column, change| parts[column] += change);
        }
        parts
    }

    /// Returns the importance of each column: its share of the absolute contributions over the rows.
    pub(super) fn importance(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let mut sums = vec![0.0; columns.len()];
        // A sample of about 2,000 rows is enough.
        for row in (0..rows).step_by((rows / 2_000).max(1)) {
            let parts = self.contributions(columns, row);
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part.abs());
        }
        let all: f64 = sums.iter().sum();
        sums.iter().map(|sum| if all > 0.0 { sum / all } else { 0.0 }).collect()
    }
}

/// Descends from the root to a leaf and returns the leaf's value. Calls `on_split` with the column and the
/// change of value of each split on the path.
fn descend(
    nodes: &[TreeNode],
    goes_left: impl Fn(&Split) -> bool,
    mut on_split: impl FnMut(usize, f64),
) -> f64 {
    let mut node = &nodes[0];
    while let Some(split) = &node.split {
        let child = &nodes[if goes_left(split) { split.left } else { split.right }];
        on_split(split.column, child.value - node.value);
        node = child;
    }
    node.value
}

/// Training rows of one round: binned columns, and gradient and curvature of the loss by row.
struct BinnedRows<'a> {
    binned: &'a [Vec<u8>],
    edges: &'a [Vec<f64>],
    gradients: &'a [(f64, f64)],
    /// Least number of rows of a leaf.
    min_leaf: usize,
}

/// Appends the node of `rows` and its descendants to `nodes`. Returns the index of the node.
fn grow(nodes: &mut Vec<TreeNode>, rows: Vec<u32>, data: &BinnedRows<'_>, depth: usize) -> usize {
    let (gradient, curvature) = rows.iter().fold((0.0, 0.0), |(g, h), row| {
        let (gradient, curvature) = data.gradients[*row as usize];
        (g + gradient, h + curvature)
    });
    let place = nodes.len();
    nodes.push(TreeNode { value: LEARNING_RATE * gradient / (curvature + RIDGE), split: None });
    let split = if depth > 0 { best_split(&rows, data, gradient, curvature) } else { None };
    let Some((column, bin)) = split else { return place };
    let binned = &data.binned[column];
    let (left, right) = rows.into_iter().partition(|row| binned[*row as usize] <= bin);
    let left = grow(nodes, left, data, depth - 1);
    let right = grow(nodes, right, data, depth - 1);
    nodes[place].split = Some(Split { column, edge: data.edges[column][bin as usize], bin, left, right });
    place
}

/// Returns the column and bin of the split with the greatest gain, if any split gains. Of equal gains the
/// first one wins.
fn best_split(rows: &[u32], data: &BinnedRows<'_>, gradient: f64, curvature: f64) -> Option<(usize, u8)> {
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
            if count < data.min_leaf || rows.len() - count < data.min_leaf {
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

    /// Returns two columns and labels that depend on the interaction of both.
    fn interaction() -> (Vec<Vec<f64>>, Vec<bool>) {
        let pairs = || (0..60).flat_map(|i| (0..60).map(move |j| (f64::from(i), f64::from(j))));
        let columns = vec![pairs().map(|(i, _)| i).collect(), pairs().map(|(_, j)| j).collect()];
        (columns, pairs().map(|(i, j)| i > 40.0 && j > 20.0).collect())
    }

    #[test]
    fn interaction_of_two_columns_is_learned() {
        let (columns, labels) = interaction();
        let trees = BoostedTrees::fit(&columns, &labels);
        let scores = trees.scores(&columns, labels.len());
        let right = scores.iter().zip(&labels).filter(|(score, label)| (**score > 0.0) == **label).count();
        assert!(right * 100 > labels.len() * 97, "{right} of {}", labels.len());
    }

    #[test]
    fn contributions_and_root_values_add_up_to_the_score() {
        let (columns, labels) = interaction();
        let trees = BoostedTrees::fit(&columns, &labels);
        let roots: f64 = trees.base + trees.trees.iter().map(|nodes| nodes[0].value).sum::<f64>();
        let scores = trees.scores(&columns, labels.len());
        for row in [0, 1_234, 3_599] {
            let parts: f64 = trees.contributions(&columns, row).iter().sum();
            assert!((roots + parts - scores[row]).abs() < 1e-9);
        }
    }

    #[test]
    fn constant_column_and_empty_input_are_accepted() {
        let labels: Vec<bool> = (0..100).map(|at| at % 4 == 0).collect();
        let trees = BoostedTrees::fit(&[vec![1.0; 100]], &labels);
        assert!((sigmoid(trees.scores(&[vec![1.0; 1]], 1)[0]) - 0.25).abs() < 1e-6);
        assert_eq!(BoostedTrees::fit(&[Vec::new()], &[]).scores(&[Vec::new()], 0), Vec::<f64>::new());
    }
}
