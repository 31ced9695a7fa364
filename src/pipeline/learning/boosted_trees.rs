//! Gradient-boosted trees for binary labels or amounts: shallow regression trees over binned columns, with
//! Newton steps.
//!
//! Source: Friedman, Greedy Function Approximation: A Gradient Boosting Machine, Annals of Statistics 29
//! (2001); monotone columns as in the tutorial of `XGBoost`, "Monotonic Constraints". Implemented here
//! because no crate fits: perpetual needs the nightly compiler and adapts to the free memory of the machine;
//! other crates are unmaintained or have no logistic loss. There is no random sampling of rows or columns,
//! and rows are summed sequentially, so the same rows give identical trees on any number of threads. Time is
//! linear in rows.

use serde::{Deserialize, Serialize};

use super::{
    Direction,
    logistic::{logit, sigmoid},
    metrics::{mean, share},
};

/// Number of trees.
const ROUNDS: usize = 80;
/// Shrinkage of each tree's values.
const LEARNING_RATE: f64 = 0.06;
/// Greatest number of splits from the root to a leaf.
pub(super) const MAX_DEPTH: usize = 3;
/// Greatest number of bins of a column.
const BINS: usize = 32;
/// L2 regularization: added to the curvature of a leaf, which shrinks the values of small leaves.
const RIDGE: f64 = 5.0;

/// A node of a tree: an inner node with a split, or a leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TreeNode {
    /// Term that a leaf adds to the score.
    pub(super) value: f64,
    /// Number of training rows of the node.
    pub(super) rows: u32,
    pub(super) split: Option<Split>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Split {
    pub(super) column: usize,
    /// Greatest value of the left child.
    pub(super) edge: f64,
    pub(super) left: usize,
    pub(super) right: usize,
}

/// The values that trees learn to predict, by row.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) enum Target<'a> {
    /// Outcomes of a probability; the scores are log-odds. The loss is the log loss.
    Labels(&'a [bool]),
    /// Amounts; the scores are amounts. The loss is the squared error.
    Amounts(&'a [f64]),
}

impl Target<'_> {
    fn len(self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Amounts(amounts) => amounts.len(),
        }
    }

    /// Returns the best score without any column.
    fn base(self) -> f64 {
        match self {
            Self::Labels(labels) => logit(share(labels)),
            Self::Amounts(amounts) => mean(amounts.iter().copied()),
        }
    }

    /// Returns the negative gradient and the curvature of the loss of `row` at `score`.
    fn gradient(self, row: usize, score: f64) -> (f64, f64) {
        match self {
            Self::Labels(labels) => {
                let p = sigmoid(score);
                (f64::from(u8::from(labels[row])) - p, p * (1.0 - p))
            }
            Self::Amounts(amounts) => (amounts[row] - score, 1.0),
        }
    }
}

/// An ensemble of trees; the score of a row is `base` plus one leaf value per tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct BoostedTrees {
    pub(super) base: f64,
    pub(super) trees: Vec<Vec<TreeNode>>,
    /// Gain of all splits on each column.
    gains: Vec<f64>,
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

/// Returns the bin of each value, row by row.
#[expect(clippy::cast_possible_truncation, reason = "there are at most 32 bins")]
fn bins(columns: &[Vec<f64>], edges: &[Vec<f64>]) -> Vec<u8> {
    let mut bins = vec![0; columns.first().map_or(0, Vec::len) * columns.len()];
    for (place, (column, edges)) in columns.iter().zip(edges).enumerate() {
        for (bin, value) in bins[place..].iter_mut().step_by(columns.len()).zip(column) {
            *bin = edges.partition_point(|edge| edge < value) as u8;
        }
    }
    bins
}

impl BoostedTrees {
    /// Fits `columns` to `target`. The score rises or falls with each column only as its entry in
    /// `directions` allows.
    pub(in crate::pipeline) fn fit(
        columns: &[Vec<f64>],
        target: Target<'_>,
        directions: &[Direction],
    ) -> Self {
        let rows = target.len();
        if rows == 0 {
            return Self { base: 0.0, trees: Vec::new(), gains: vec![0.0; columns.len()] };
        }
        let edges: Vec<Vec<f64>> = columns.iter().map(|column| bin_edges(column)).collect();
        let base = target.base();
        let mut data = BinnedRows {
            bins: bins(columns, &edges),
            edges: &edges,
            gradients: vec![(0.0, 0.0); rows],
            directions,
            min_leaf: (rows / 100).max(20),
        };
        let mut scores = vec![base; rows];
        let mut trees = Vec::with_capacity(ROUNDS);
        let mut gains = vec![0.0; columns.len()];
        for _ in 0..ROUNDS {
            for (at, gradient) in data.gradients.iter_mut().enumerate() {
                *gradient = target.gradient(at, scores[at]);
            }
            let all: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
            let histogram = data.histogram(&all);
            let mut tree = Tree { data: &data, nodes: Vec::new(), scores: &mut scores, gains: &mut gains };
            tree.grow(all, histogram, Bounds::NONE, MAX_DEPTH);
            trees.push(tree.nodes);
        }
        Self { base, trees, gains }
    }

    /// Returns the score of each of the `rows` rows.
    pub(in crate::pipeline) fn scores(&self, columns: &[Vec<f64>], rows: usize) -> Vec<f64> {
        let score = |row: usize| {
            let added = self.trees.iter().map(|nodes| leaf_value(nodes, |column| columns[column][row]));
            self.base + added.sum::<f64>()
        };
        (0..rows).map(score).collect()
    }

    /// Returns the share of each column in the gain of all splits.
    pub(in crate::pipeline) fn importance(&self) -> Vec<f64> {
        let all: f64 = self.gains.iter().sum();
        self.gains.iter().map(|gain| if all > 0.0 { gain / all } else { 0.0 }).collect()
    }
}

/// Returns the value of the leaf of a row. `value` returns the row's value of a column.
fn leaf_value(nodes: &[TreeNode], value: impl Fn(usize) -> f64) -> f64 {
    let mut node = &nodes[0];
    while let Some(split) = &node.split {
        node = &nodes[if value(split.column) <= split.edge { split.left } else { split.right }];
    }
    node.value
}

/// Training rows: binned columns, and gradient and curvature of the loss by row.
struct BinnedRows<'a> {
    /// Bins of all columns, row by row.
    bins: Vec<u8>,
    edges: &'a [Vec<f64>],
    gradients: Vec<(f64, f64)>,
    directions: &'a [Direction],
    /// Least number of rows of a leaf.
    min_leaf: usize,
}

/// Sums of the rows of a bin.
#[derive(Debug, Clone, Copy, Default)]
struct BinSums {
    gradient: f64,
    curvature: f64,
    rows: u32,
}

/// Least and greatest weight of a node, before shrinkage. The bounds keep all nodes on the left of a split of
/// a rising column below all nodes on its right.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    least: f64,
    most: f64,
}

impl Bounds {
    const NONE: Self = Self { least: f64::NEG_INFINITY, most: f64::INFINITY };

    /// Returns the weight of a node with these sums of gradient and curvature.
    fn weight(self, (gradient, curvature): (f64, f64)) -> f64 {
        (gradient / (curvature + RIDGE)).clamp(self.least, self.most)
    }

    /// Returns the bounds of both children of a split between the weights `left` and `right`.
    fn divided(self, direction: Direction, left: f64, right: f64) -> (Self, Self) {
        let middle = f64::midpoint(left, right);
        let (below, above) = (Self { most: middle, ..self }, Self { least: middle, ..self });
        match direction {
            Direction::Any => (self, self),
            Direction::Rising => (below, above),
            Direction::Falling => (above, below),
        }
    }
}

/// Returns by how much a node with `weight` lowers the loss, to second order and doubled.
fn gain((gradient, curvature): (f64, f64), weight: f64) -> f64 {
    weight * (2.0 * gradient - (curvature + RIDGE) * weight)
}

/// A split that was found, with the sums of gradient and curvature of its children.
struct BestSplit {
    column: usize,
    bin: u8,
    gain: f64,
    left: (f64, f64),
    right: (f64, f64),
}

/// A tree that is being grown. Leaves are added to `scores` at once.
struct Tree<'a> {
    data: &'a BinnedRows<'a>,
    nodes: Vec<TreeNode>,
    scores: &'a mut [f64],
    /// Gain of the splits on each column, over all trees.
    gains: &'a mut [f64],
}

impl Tree<'_> {
    /// Appends the node of `rows`, whose sums are in `histogram`, and its descendants. Returns the index of
    /// the node.
    fn grow(&mut self, rows: Vec<u32>, mut histogram: Vec<BinSums>, bounds: Bounds, depth: usize) -> usize {
        let sums = rows.iter().fold((0.0, 0.0), |(g, h), row| {
            let (gradient, curvature) = self.data.gradients[*row as usize];
            (g + gradient, h + curvature)
        });
        let place = self.nodes.len();
        let value = LEARNING_RATE * bounds.weight(sums);
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.nodes.push(TreeNode { value, rows: count, split: None });
        let split = if depth > 0 { self.data.best_split(&histogram, rows.len(), sums, bounds) } else { None };
        let Some(BestSplit { column, bin, gain, left, right }) = split else {
            for row in rows {
                self.scores[row as usize] += value;
            }
            return place;
        };
        self.gains[column] += gain;
        let (below, above) =
            bounds.divided(self.data.directions[column], bounds.weight(left), bounds.weight(right));
        let is_left = |row: &u32| self.data.bin(*row, column) <= bin;
        let (left, right): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(is_left);
        let (left_sums, right_sums) = if depth == 1 {
            // The children are leaves.
            (Vec::new(), Vec::new())
        } else {
            // The sums of the larger child are those of the node without the smaller one.
            let is_left_smaller = left.len() < right.len();
            let smaller = self.data.histogram(if is_left_smaller { &left } else { &right });
            for (all, part) in histogram.iter_mut().zip(&smaller) {
                all.gradient -= part.gradient;
                all.curvature -= part.curvature;
                all.rows -= part.rows;
            }
            if is_left_smaller { (smaller, histogram) } else { (histogram, smaller) }
        };
        let left = self.grow(left, left_sums, below, depth - 1);
        let right = self.grow(right, right_sums, above, depth - 1);
        let edge = self.data.edges[column][bin as usize];
        self.nodes[place].split = Some(Split { column, edge, left, right });
        place
    }
}

impl BinnedRows<'_> {
    fn bin(&self, row: u32, column: usize) -> u8 {
        self.bins[row as usize * self.edges.len() + column]
    }

    /// Returns the sums of `rows` by column and bin.
    fn histogram(&self, rows: &[u32]) -> Vec<BinSums> {
        let columns = self.edges.len();
        let mut sums = vec![BinSums::default(); columns * BINS];
        for row in rows {
            let row = *row as usize;
            let (gradient, curvature) = self.gradients[row];
            let bins = &self.bins[row * columns..(row + 1) * columns];
            for (bin, of_column) in bins.iter().zip(sums.chunks_exact_mut(BINS)) {
                let bin = &mut of_column[*bin as usize];
                bin.gradient += gradient;
                bin.curvature += curvature;
                bin.rows += 1;
            }
        }
        sums
    }

    /// Returns the split of a node of `rows` rows with the greatest gain, if any split gains. Of equal gains
    /// the first one wins.
    fn best_split(
        &self,
        histogram: &[BinSums],
        rows: usize,
        sums: (f64, f64),
        bounds: Bounds,
    ) -> Option<BestSplit> {
        let mut found = None;
        let without = gain(sums, bounds.weight(sums));
        let mut most = 1e-6;
        for (column, of_bins) in histogram.chunks_exact(BINS).enumerate() {
            let (mut left, mut count) = ((0.0, 0.0), 0);
            for (bin, sum) in (0_u8..).zip(&of_bins[..self.edges[column].len()]) {
                left = (left.0 + sum.gradient, left.1 + sum.curvature);
                count += sum.rows as usize;
                if count < self.min_leaf || rows - count < self.min_leaf {
                    continue;
                }
                let right = (sums.0 - left.0, sums.1 - left.1);
                let (low, high) = (bounds.weight(left), bounds.weight(right));
                if !self.directions[column].allows(low, high) {
                    continue;
                }
                let gain = gain(left, low) + gain(right, high) - without;
                if gain > most {
                    (most, found) = (gain, Some(BestSplit { column, bin, gain, left, right }));
                }
            }
        }
        found
    }
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
        let trees = BoostedTrees::fit(&columns, Target::Labels(&labels), &[Direction::Any; 2]);
        let scores = trees.scores(&columns, labels.len());
        let right = scores.iter().zip(&labels).filter(|(score, label)| (**score > 0.0) == **label).count();
        assert!(right * 100 > labels.len() * 97, "{right} of {}", labels.len());
    }

    #[test]
    fn constant_column_and_empty_input_are_accepted() {
        let labels: Vec<bool> = (0..100).map(|at| at % 4 == 0).collect();
        let trees = BoostedTrees::fit(&[vec![1.0; 100]], Target::Labels(&labels), &[Direction::Any]);
        assert!((sigmoid(trees.scores(&[vec![1.0; 1]], 1)[0]) - 0.25).abs() < 1e-6);
        let none = BoostedTrees::fit(&[Vec::new()], Target::Labels(&[]), &[Direction::Any]);
        assert_eq!(none.scores(&[Vec::new()], 0), Vec::<f64>::new());
    }

    #[test]
    fn scores_move_only_in_the_allowed_direction() {
        // The target rises, falls and rises again; a second column disturbs it.
        let value = |i: f64, j: f64| (i / 12.0).sin() * 10.0 + i / 10.0 + (j * 7.0) % 5.0;
        let pairs = || (0..60).flat_map(|i| (0..30).map(move |j| (f64::from(i), f64::from(j))));
        let columns = [pairs().map(|(i, _)| i).collect(), pairs().map(|(_, j)| j).collect::<Vec<f64>>()];
        let amounts: Vec<f64> = pairs().map(|(i, j)| value(i, j)).collect();
        for (direction, sign) in [(Direction::Rising, 1.0), (Direction::Falling, -1.0)] {
            let trees = BoostedTrees::fit(&columns, Target::Amounts(&amounts), &[direction, Direction::Any]);
            let changes: Vec<f64> = (0..30)
                .flat_map(|j| {
                    let row = [(0..60).map(f64::from).collect(), vec![f64::from(j); 60]];
                    let scores = trees.scores(&row, 60);
                    scores.windows(2).map(|pair| (pair[1] - pair[0]) * sign).collect::<Vec<f64>>()
                })
                .collect();
            assert!(changes.iter().all(|change| *change >= -1e-12), "{direction:?}");
            assert!(changes.iter().any(|change| *change > 0.1), "{direction:?}");
        }
        let free = BoostedTrees::fit(&columns, Target::Amounts(&amounts), &[Direction::Any; 2]);
        let scores = free.scores(&columns, amounts.len());
        let error = mean(scores.iter().zip(&amounts).map(|(score, amount)| (score - amount).abs()));
        assert!(error < 2.0, "{error}");
    }
}
