//! Effects of groups of columns on the score of boosted trees: Shapley values whose players are the groups.
//!
//! The value of a set of groups is the expected score of a tree when only the columns of these groups are
//! known: an unknown column leads to both children, weighted by their training rows (Lundberg, Erion and Lee,
//! Consistent Individualized Feature Attribution for Tree Ensembles, 2018, algorithm 1). A shallow tree has
//! few splits, and the effects depend only on the side that a row takes at each of them. So the effects are
//! computed once for every combination of sides and looked up by row.

use super::boosted_trees::{BoostedTrees, TreeNode};

/// Looks up the effects of groups.
#[derive(Debug)]
pub(in crate::pipeline) struct GroupEffects {
    /// Mean score of the training rows.
    mean: f64,
    trees: Vec<TreeEffects>,
}

/// The effects of one tree.
#[derive(Debug)]
struct TreeEffects {
    mean: f64,
    /// Column and edge of each split.
    splits: Vec<(usize, f64)>,
    /// Groups of the columns of the splits.
    groups: Vec<usize>,
    /// Effects of `groups` by combination of sides. Bit n of a combination is set if the row is on the left
    /// of split n.
    effects: Vec<f64>,
}

impl GroupEffects {
    /// Computes the effects in `trees`. `groups` has the group of each column.
    pub(in crate::pipeline) fn of(trees: &BoostedTrees, groups: &[usize]) -> Self {
        let effects: Vec<TreeEffects> =
            trees.trees.iter().map(|nodes| TreeEffects::of(nodes, groups)).collect();
        let mean = trees.base + effects.iter().map(|tree| tree.mean).sum::<f64>();
        Self { mean, trees: effects }
    }

    /// Returns the mean score of the training rows. A row's score is the mean and the effects of all groups.
    pub(in crate::pipeline) fn mean(&self) -> f64 {
        self.mean
    }

    /// Adds `weight` × the effect of each group on the score of a row with these values of the columns to
    /// `sums`.
    pub(in crate::pipeline) fn add(&self, row: &[f64], weight: f64, sums: &mut [f64]) {
        for tree in &self.trees {
            let sides = tree
                .splits
                .iter()
                .enumerate()
                .fold(0, |sides, (at, (column, edge))| sides | usize::from(row[*column] <= *edge) << at);
            let effects = &tree.effects[sides * tree.groups.len()..];
            tree.groups.iter().zip(effects).for_each(|(group, effect)| sums[*group] += weight * effect);
        }
    }
}

impl TreeEffects {
    fn of(nodes: &[TreeNode], group_of: &[usize]) -> Self {
        let mut splits = Vec::new();
        // Number of the split of each node.
        let numbers: Vec<usize> = nodes
            .iter()
            .map(|node| {
                splits.extend(node.split.map(|split| (split.column, split.edge)));
                splits.len().saturating_sub(1)
            })
            .collect();
        let mut groups: Vec<usize> = splits.iter().map(|(column, _)| group_of[*column]).collect();
        groups.sort_unstable();
        groups.dedup();
        let tree = KnownTree { nodes, numbers: &numbers, groups: &groups, group_of };
        let mut effects = Vec::with_capacity(groups.len() << splits.len());
        for sides in 0..1_usize << splits.len() {
            let values: Vec<f64> =
                (0..1_usize << groups.len()).map(|known| tree.expected(0, sides, known)).collect();
            effects.extend((0..groups.len()).map(|player| shapley_value(&values, player, groups.len())));
        }
        let mean = tree.expected(0, 0, 0);
        Self { mean, splits, groups, effects }
    }
}

/// A tree of which a set of groups is known.
struct KnownTree<'a> {
    nodes: &'a [TreeNode],
    numbers: &'a [usize],
    groups: &'a [usize],
    group_of: &'a [usize],
}

impl KnownTree<'_> {
    /// Returns the expected value below the node at `place`. Bit n of `known` is set if group n is known.
    fn expected(&self, place: usize, sides: usize, known: usize) -> f64 {
        let node = &self.nodes[place];
        let Some(split) = &node.split else { return node.value };
        let group = self.group_of[split.column];
        let is_known =
            self.groups.iter().position(|one| *one == group).is_some_and(|at| known >> at & 1 == 1);
        if is_known {
            let is_left = sides >> self.numbers[place] & 1 == 1;
            return self.expected(if is_left { split.left } else { split.right }, sides, known);
        }
        let weighted = |child: usize| {
            f64::from(self.nodes[child].rows) / f64::from(node.rows) * self.expected(child, sides, known)
        };
        weighted(split.left) + weighted(split.right)
    }
}

/// Returns the Shapley value of `player` among `players`. `values` has the value of each set of players.
fn shapley_value(values: &[f64], player: usize, players: usize) -> f64 {
    let without = (0..values.len()).filter(|set| set >> player & 1 == 0);
    without
        .map(|set| {
            let size = set.count_ones() as usize;
            weight(size, players) * (values[set | 1 << player] - values[set])
        })
        .sum()
}

/// Returns the share of orders of `players` in which exactly `size` given ones come before a given player:
/// size! (players − size − 1)! / players!.
fn weight(size: usize, players: usize) -> f64 {
    let binomial = (0..size).fold(1.0, |product, k| product * ratio(players - 1 - k, k + 1));
    1.0 / (ratio(players, 1) * binomial)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::learning::{Direction, boosted_trees::Target, metrics::mean};

    /// Returns trees on three columns, the first two of which interact, and the columns.
    fn trees() -> (BoostedTrees, Vec<Vec<f64>>) {
        let rows = || (0..20).flat_map(|i| (0..20).map(move |j| (f64::from(i), f64::from(j))));
        let third = |i: f64, j: f64| (i * 3.0 + j * 5.0) % 7.0;
        let columns: Vec<Vec<f64>> = vec![
            rows().map(|(i, _)| i).collect(),
            rows().map(|(_, j)| j).collect(),
            rows().map(|(i, j)| third(i, j)).collect(),
        ];
        let amounts: Vec<f64> = rows()
            .map(|(i, j)| f64::from(u8::from(i > 9.0 && j > 14.0)) * 4.0 + i / 20.0 - third(i, j) / 7.0)
            .collect();
        (BoostedTrees::fit(&columns, Target::Amounts(&amounts), &[Direction::Any; 3]), columns)
    }

    fn row(columns: &[Vec<f64>], at: usize) -> Vec<f64> {
        columns.iter().map(|column| column[at]).collect()
    }

    #[test]
    fn effects_add_up_to_the_distance_from_the_mean() {
        let (trees, columns) = trees();
        let scores = trees.scores(&columns, 400);
        let middle = mean(scores.iter().copied());
        for groups in [[0, 1, 2], [0, 0, 1], [0, 0, 0]] {
            let effects = GroupEffects::of(&trees, &groups);
            for at in [0, 17, 215, 399] {
                let mut sums = vec![0.0; 3];
                effects.add(&row(&columns, at), 1.0, &mut sums);
                let sum: f64 = sums.iter().sum();
                assert!((sum - (scores[at] - middle)).abs() < 1e-9, "{groups:?} {at}: {sums:?}");
                assert!((effects.mean() - middle).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn shapley_values_of_two_players_are_the_mean_of_both_orders() {
        let values = [1.0, 4.0, 6.0, 13.0];
        assert!((shapley_value(&values, 0, 2) - f64::midpoint(4.0 - 1.0, 13.0 - 6.0)).abs() < 1e-12);
        assert!((shapley_value(&values, 1, 2) - f64::midpoint(6.0 - 1.0, 13.0 - 4.0)).abs() < 1e-12);
        let sum: f64 = (0..4).map(|size| weight(size, 4) * [1.0, 3.0, 3.0, 1.0][size]).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
