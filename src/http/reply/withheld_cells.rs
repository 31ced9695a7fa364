//! Cells of a table that are withheld, so that no number of a few customers follows from the others.
//!
//! The totals of rows and columns are known, unless they are few themselves. A withheld cell follows from
//! them unless it is on a cycle of withheld cells (row, column, row, …): along a cycle, customers can be
//! moved without changing a total. Rows of few customers count as one row, and so do such columns, since
//! their sum is known. A cell that follows from the totals alone cannot be hidden; the answer itself does not
//! tell its number.

/// Cell of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableCell {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) customers: u64,
    /// Whether the customers count in each of the two totals that the answer shows.
    pub(crate) counted: [bool; 2],
}

/// Numbers of the lines of all rows and of all columns whose totals are few.
const FEW_ROWS: usize = 0;
const FEW_COLUMNS: usize = 1;

/// Table of which some cells are withheld.
struct Table<'a> {
    cells: &'a [TableCell],
    /// Row and column of each cell as numbers of lines.
    lines: Vec<[usize; 2]>,
    /// One more than the greatest number of a line.
    count: usize,
    withheld: Vec<bool>,
}

/// Returns for each of `cells` whether its number is withheld: those of a few customers, and the smallest
/// others from which these would follow.
pub(crate) fn withheld(cells: &[TableCell], is_few: impl Fn(u64) -> bool) -> Vec<bool> {
    let rows = cells.iter().map(|cell| cell.row + 1).max().unwrap_or(0);
    let columns = cells.iter().map(|cell| cell.column + 1).max().unwrap_or(0);
    let own = |cell: &TableCell| [2 + cell.row, 2 + rows + cell.column];
    let mut totals = vec![0; 2 + rows + columns];
    for cell in cells {
        for line in own(cell) {
            totals[line] += cell.customers;
        }
    }
    let line = |line: usize, few: usize| if is_few(totals[line]) { few } else { line };
    let lines = |[row, column]: [usize; 2]| [line(row, FEW_ROWS), line(column, FEW_COLUMNS)];
    let mut table = Table {
        cells,
        lines: cells.iter().map(|cell| lines(own(cell))).collect(),
        count: totals.len(),
        withheld: vec![true; cells.len()],
    };
    let follows_anyway = table.solved();
    table.withheld = cells.iter().map(|cell| is_few(cell.customers)).collect();
    while let Some(next) = table.next(&follows_anyway, &is_few) {
        table.withheld[next] = true;
    }
    table.withheld
}

impl Table<'_> {
    /// Returns the cell that has to be withheld next.
    fn next(&self, follows_anyway: &[bool], is_few: &impl Fn(u64) -> bool) -> Option<usize> {
        let all = || (0..self.cells.len()).filter(|at| self.withheld[*at]);
        let solved = self.solved();
        let is_told = |at: &usize| solved[*at] && !follows_anyway[*at] && is_few(self.cells[*at].customers);
        for at in all().filter(is_told) {
            let mut near = vec![false; self.count];
            self.lines[at].iter().for_each(|line| self.reach(*line, None, &mut near));
            let next = self.smallest(|at| self.lines[at].iter().any(|line| near[*line]));
            if next.is_some() {
                return next;
            }
        }
        let few_in_line = (0..self.count).find_map(|line| {
            let is_open = |at: &usize| self.lines[*at].contains(&line) && !solved[*at];
            let open: Vec<u64> = all().filter(is_open).map(|at| self.cells[at].customers).collect();
            let customers = open.iter().sum();
            // Each cell of the table has a customer.
            let is_told = is_few(customers) || (!open.is_empty() && customers == open.len() as u64);
            if is_told { self.smallest(|at| self.lines[at].contains(&line)) } else { None }
        });
        few_in_line.or_else(|| {
            (0..2).find_map(|total| {
                let counted = all().filter(|at| self.cells[*at].counted[total]);
                let customers = counted.map(|at| self.cells[at].customers).sum();
                if is_few(customers) { self.smallest(|at| self.cells[at].counted[total]) } else { None }
            })
        })
    }

    /// Returns the smallest shown cell that is `wanted`.
    fn smallest(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let shown = (0..self.cells.len()).filter(|at| !self.withheld[*at] && wanted(*at));
        shown.min_by_key(|at| self.cells[*at].customers)
    }

    /// Returns for each cell whether it is withheld and follows from totals and shown cells.
    fn solved(&self) -> Vec<bool> {
        let is_solved = |at: usize| {
            let [row, column] = self.lines[at];
            let mut reached = vec![false; self.count];
            self.reach(row, Some(at), &mut reached);
            !reached[column]
        };
        (0..self.cells.len()).map(|at| self.withheld[at] && is_solved(at)).collect()
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
            let cell = |(column, customers): (usize, &u64)| TableCell {
                row,
                column,
                customers: *customers,
                counted: [true; 2],
            };
            cells.iter().enumerate().map(cell).filter(|cell| cell.customers > 0).collect::<Vec<_>>()
        };
        table.iter().enumerate().flat_map(row).collect()
    }

    /// Returns which of the withheld cells follow: those alone in a combination of the equations of all lines
    /// whose total is known and of those of few customers together, found by Gaussian elimination.
    fn solved(cells: &[TableCell], withheld: &[bool]) -> Vec<usize> {
        let hidden: Vec<usize> = (0..cells.len()).filter(|at| withheld[*at]).collect();
        let equations_of = |of: &dyn Fn(&TableCell) -> usize| {
            let total = |line: usize| -> u64 {
                cells.iter().filter(|cell| of(cell) == line).map(|cell| cell.customers).sum()
            };
            let (few, known): (Vec<usize>, Vec<usize>) = (0..9).partition(|line| is_few(total(*line)));
            let sums = known.into_iter().map(|line| vec![line]).chain([few]);
            let term = |at: &usize, lines: &[usize]| f64::from(u8::from(lines.contains(&of(&cells[*at]))));
            sums.map(|lines| hidden.iter().map(|at| term(at, &lines)).collect()).collect::<Vec<Vec<f64>>>()
        };
        let mut equations = equations_of(&|cell| cell.row);
        equations.extend(equations_of(&|cell| cell.column));
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

    #[test]
    fn small_segment_that_keeps_its_members_hides_one_other_cell() {
        let stayed =
            cells(&[vec![100, 20, 30, 0], vec![40, 50, 60, 0], vec![70, 80, 90, 0], vec![0, 0, 0, 3]]);
        let withheld = withheld(&stayed, is_few);
        let hidden: Vec<u64> = stayed
            .iter()
            .zip(&withheld)
            .filter(|(_, withheld)| **withheld)
            .map(|(cell, _)| cell.customers)
            .collect();
        assert_eq!(hidden, [20, 3]);
        let new = cells(&[vec![100, 20, 30], vec![40, 50, 60], vec![3, 0, 0]]);
        assert_eq!(super::withheld(&new, is_few).iter().filter(|withheld| **withheld).count(), 2);
    }

    #[test]
    fn cells_of_one_customer_each_do_not_follow_from_their_number() {
        let ones = cells(&[vec![1, 1, 1, 1, 1, 50], vec![60, 70, 80, 90, 40, 30]]);
        assert!(withheld(&ones, is_few)[5], "the first row has five cells and five customers");
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
            let hidden = || cells.iter().zip(&withheld).filter(|(_, withheld)| **withheld);
            let customers: u64 = hidden().map(|(cell, _)| cell.customers).sum();
            prop_assert!(!is_few(customers) || hidden().count() == cells.len(), "{cells:?}");
        }
    }
}
