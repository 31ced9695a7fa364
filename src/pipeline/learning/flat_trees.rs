//! Boosted trees in a compact form for many rows: every tree has the greatest depth, so that a row takes as
//! many steps in each, without branches.

use serde::{Deserialize, Serialize};

use super::boosted_trees::{BoostedTrees, MAX_DEPTH, TreeNode};

/// Number of splits of a tree.
const SPLITS: usize = (1 << MAX_DEPTH) - 1;

/// A tree. The children of the split at `i` are at 2 `i` + 1 and 2 `i` + 2; leaves follow splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlatTree {
    columns: [u16; SPLITS],
    edges: [f64; SPLITS],
    leaves: [f64; SPLITS + 1],
}

/// Trees with the scores of [`BoostedTrees`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::pipeline) struct FlatTrees {
    base: f64,
    trees: Vec<FlatTree>,
}

impl FlatTree {
    /// Copies the node at `from` of `nodes` to the place `to`. A leaf above the greatest depth becomes splits
    /// whose leaves are equal.
    fn fill(&mut self, nodes: &[TreeNode], from: usize, to: usize) {
        let node = &nodes[from];
        if to >= SPLITS {
            self.leaves[to - SPLITS] = node.value;
            return;
        }
        let (left, right) = match &node.split {
            Some(split) => {
                self.columns[to] = u16::try_from(split.column).unwrap_or(u16::MAX);
                self.edges[to] = split.edge;
                (split.left, split.right)
            }
            None => (from, from),
        };
        self.fill(nodes, left, 2 * to + 1);
        self.fill(nodes, right, 2 * to + 2);
    }
}

impl FlatTrees {
    /// Copies `trees`.
    pub(in crate::pipeline) fn of(trees: &BoostedTrees) -> Self {
        let flat = |nodes: &Vec<TreeNode>| {
            let (columns, edges) = ([0; SPLITS], [0.0; SPLITS]);
            let mut tree = FlatTree { columns, edges, leaves: [0.0; SPLITS + 1] };
            tree.fill(nodes, 0, 0);
            tree
        };
        Self { base: trees.base, trees: trees.trees.iter().map(flat).collect() }
    }

    /// Returns the score of a row with these columns.
    pub(in crate::pipeline) fn score(&self, row: &[f64]) -> f64 {
        let leaf = |tree: &FlatTree| {
            let mut at = 0;
            for _ in 0..MAX_DEPTH {
                let is_left = row[usize::from(tree.columns[at])] <= tree.edges[at];
                at = 2 * at + 2 - usize::from(is_left);
            }
            tree.leaves[at - SPLITS]
        };
        self.base + self.trees.iter().map(leaf).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Direction, boosted_trees::Target},
        *,
    };

    #[test]
    fn scores_are_those_of_the_boosted_trees() {
        let columns: Vec<Vec<f64>> = (0..3_u32)
            .map(|column| (0..900_u32).map(|row| f64::from(row * (7 + 5 * column) % (40 + column))).collect())
            .collect();
        let amounts: Vec<f64> =
            (0..900).map(|row| columns[0][row].sin() * columns[1][row] + columns[2][row]).collect();
        // Few rows make shallow trees.
        for rows in [900, 70, 0] {
            let columns: Vec<Vec<f64>> = columns.iter().map(|column| column[..rows].to_vec()).collect();
            let trees = BoostedTrees::fit(&columns, Target::Amounts(&amounts[..rows]), &[Direction::Any; 3]);
            let flat = FlatTrees::of(&trees);
            for (row, score) in trees.scores(&columns, rows).into_iter().enumerate() {
                let of_row: Vec<f64> = columns.iter().map(|column| column[row]).collect();
                assert!(flat.score(&of_row).to_bits() == score.to_bits(), "{row} of {rows}");
            }
        }
    }
}
