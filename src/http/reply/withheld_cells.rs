//! Cells of a table that are withheld, so that no number of a few customers follows from the others.
//!
//! The totals of rows and columns are known, unless they are few themselves. A withheld cell follows from
//! them unless it is on a cycle of withheld cells (row, column, row, …): along a cycle, customers can be
//! moved without changing a total. All lines without a known total count as one line of the cycle.

/// A cell of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableCell {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) customers: u64,
}

/// The line that stands for all rows and columns without a known total.
const UNKNOWN: usize = 0;

/// A table of which some cells are withheld.
struct Table<'a> {
    cells: &'a [TableCell],
    /// Row and column of each cell as numbers of lines, from 1, or [`UNKNOWN`].
    lines: Vec<[usize; 2]>,
    /// Number of lines.
    count: usize,
    withheld: Vec<bool>,
}

/// Returns for each of `cells` whether its number is withheld: those of a few customers, and the smallest
/// others from which these would follow.
pub(crate) fn withheld(cells: &[TableCell], is_few: impl Fn(u64) -> bool) -> Vec<bool> {
    let rows = cells.iter().map(|cell| cell.row + 1).max().unwrap_or(0);
    let columns = cells.iter().map(|cell| cell.column + 1).max().unwrap_or(0);
    let both = |cell: &TableCell| [1 + cell.row, 1 + rows + cell.column];
    let mut totals = vec![0; 1 + rows + columns];
    for cell in cells {
        for line in both(cell) {
            totals[line] += cell.customers;
        }
    }
    let known = |line: usize| if is_few(totals[line]) { UNKNOWN } else { line };
    let mut table = Table {
        cells,
        lines: cells.iter().map(|cell| both(cell).map(known)).collect(),
        count: totals.len(),
        withheld: cells.iter().map(|cell| is_few(cell.customers)).collect(),
    };
    while let Some(next) = table.next(&is_few) {
        table.withheld[next] = true;
    }
    table.withheld
}

impl Table<'_> {
    /// Returns the cell that has to be withheld next.
    fn next(&self, is_few: &impl Fn(u64) -> bool) -> Option<usize> {
        let hidden: Vec<usize> = (0..self.cells.len()).filter(|at| self.withheld[*at]).collect();
        let solved: Vec<usize> = hidden.iter().copied().filter(|at| self.is_solved(*at)).collect();
        for at in solved.iter().copied().filter(|at| is_few(self.cells[*at].customers)) {
            let mut near = vec![false; self.count];
            self.lines[at].iter().for_each(|line| self.reach(*line, None, &mut near));
            let next = self.smallest(|lines| lines.iter().any(|line| near[*line]));
            if next.is_some() {
                return next;
            }
        }
        (1..self.count).find_map(|line| {
            let is_open = |at: &&usize| self.lines[**at].contains(&line) && !solved.contains(at);
            let customers = hidden.iter().filter(is_open).map(|at| self.cells[*at].customers).sum();
            if is_few(customers) { self.smallest(|lines| lines.contains(&line)) } else { None }
        })
    }

    /// Returns the smallest shown cell whose lines are `wanted`.
    fn smallest(&self, wanted: impl Fn(&[usize; 2]) -> bool) -> Option<usize> {
        let shown = (0..self.cells.len()).filter(|at| !self.withheld[*at] && wanted(&self.lines[*at]));
        shown.min_by_key(|at| self.cells[*at].customers)
    }

    /// Checks whether the withheld cell at `at` follows from totals and shown cells.
    fn is_solved(&self, at: usize) -> bool {
        let [row, column] = self.lines[at];
        let mut reached = vec![false; self.count];
        self.reach(row, Some(at), &mut reached);
        !reached[column]
    }

    /// Marks the lines that withheld cells other than `without` connect with `line`.
    fn reach(&self, line: usize, without: Option<usize>, reached: &mut [bool]) {
        let mut open = vec![line];
        while let Some(line) = open.pop() {
            if std::mem::replace(&mut reached[line], true) {
                continue;
            }
            let others = (0..self.cells.len()).filter(|at| self.withheld[*at] && Some(*at) != without);
            open.extend(others.filter(|at| self.lines[*at].contains(&line)).flat_map(|at| self.lines[at]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: u64 = 5;

    fn is_few(customers: u64) -> bool {
        (1..LEAST).contains(&customers)
    }

    fn cells(table: &[Vec<u64>]) -> Vec<TableCell> {
        let row = |(row, cells): (usize, &Vec<u64>)| {
            let cell = |(column, customers): (usize, &u64)| TableCell { row, column, customers: *customers };
            cells.iter().enumerate().map(cell).filter(|cell| cell.customers > 0).collect::<Vec<_>>()
        };
        table.iter().enumerate().flat_map(row).collect()
    }

    /// Returns which of the withheld cells follow: those alone in a combination of the equations of all lines
    /// whose total is known, found by Gaussian elimination.
    fn solved(cells: &[TableCell], withheld: &[bool]) -> Vec<usize> {
        let hidden: Vec<usize> = (0..cells.len()).filter(|at| withheld[*at]).collect();
        let line = |of: &dyn Fn(&TableCell) -> usize, line: usize| {
            let total: u64 = cells.iter().filter(|cell| of(cell) == line).map(|cell| cell.customers).sum();
            let known = !is_few(total);
            let term = |at: &usize| if of(&cells[*at]) == line { 1.0_f64 } else { 0.0 };
            known.then(|| hidden.iter().map(term).collect::<Vec<_>>())
        };
        let rows = (0..9).filter_map(|at| line(&|cell| cell.row, at));
        let mut equations: Vec<Vec<f64>> =
            rows.chain((0..9).filter_map(|at| line(&|cell| cell.column, at))).collect();
        let mut rank = 0;
        for column in 0..hidden.len() {
            let Some(pivot) = (rank..equations.len()).find(|at| equations[*at][column].abs() > 1e-9) else {
                continue;
            };
            equations.swap(rank, pivot);
            let head: Vec<f64> = equations[rank].iter().map(|term| term / equations[rank][column]).collect();
            for (at, equation) in equations.iter_mut().enumerate() {
                let factor = equation[column];
                if at == rank {
                    equation.clone_from(&head);
                } else {
                    equation.iter_mut().zip(&head).for_each(|(term, head)| *term -= factor * head);
                }
            }
            rank += 1;
        }
        let alone = |equation: &Vec<f64>| {
            let mut terms = (0..hidden.len()).filter(|at| equation[*at].abs() > 1e-9);
            terms.next().filter(|_| terms.next().is_none())
        };
        equations.iter().filter_map(alone).map(|at| hidden[at]).collect()
    }

    #[test]
    fn cell_that_follows_from_a_solved_cell_is_not_shown() {
        // The cells of 2 and 4 are few. With the cell of 12 alone in its column, the row tells the 2.
        let table = [vec![15, 180, 91], vec![1_425, 12, 85], vec![111, 445, 2], vec![75, 4, 24]];
        let cells = cells(&table);
        let withheld = withheld(&cells, is_few);
        assert_eq!(solved(&cells, &withheld), Vec::<usize>::new());
        assert!(withheld.iter().filter(|withheld| **withheld).count() < cells.len());
        let shown = [vec![15, 180], vec![1_425, 12]];
        assert_eq!(super::withheld(&self::cells(&shown), is_few), [false; 4]);
    }

    proptest! {
        #[test]
        fn few_customers_never_follow(
            table in (1..6_usize).prop_flat_map(|columns| {
                proptest::collection::vec(proptest::collection::vec(0..14_u64, columns), 1..6)
            })
        ) {
            let cells = cells(&table);
            let withheld = withheld(&cells, is_few);
            let found = solved(&cells, &withheld);
            // Totals alone tell some cells, which cannot be withheld here.
            let follows_anyway = solved(&cells, &vec![true; cells.len()]);
            for (at, cell) in cells.iter().enumerate() {
                prop_assert!(!is_few(cell.customers) || withheld[at]);
                let is_found = found.contains(&at) && !follows_anyway.contains(&at);
                prop_assert!(!is_few(cell.customers) || !is_found, "{cells:?} {at}");
            }
        }
    }
}
