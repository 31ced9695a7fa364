//! Price of a unit or total of a line: told by quantity × price across lines, or else by the name.

use std::collections::BTreeMap;

use super::profile::ColumnProfile;

/// The column with prices or amounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PriceChoice {
    pub(super) source: String,
    /// Whether the column has the totals of lines.
    pub(super) is_total: bool,
    pub(super) reason: String,
    pub(super) doubt: Option<String>,
}

/// Columns of a file that decide about prices.
#[derive(Debug)]
pub(super) struct PriceColumns<'a> {
    /// Columns that may have the price of a unit, the likeliest first.
    pub(super) units: Vec<&'a ColumnProfile>,
    /// Columns that may have the total of a line, the likeliest first.
    pub(super) totals: Vec<&'a ColumnProfile>,
    pub(super) quantity: Option<&'a ColumnProfile>,
    pub(super) order: Option<&'a ColumnProfile>,
    pub(super) product: Option<&'a ColumnProfile>,
    /// Name of the system, if it tells the meaning of the first column.
    pub(super) system: Option<&'static str>,
}

/// Number of lines or products from which values decide.
const ENOUGH: usize = 3;

impl PriceColumns<'_> {
    /// Chooses the column. Returns `None` if there is none.
    pub(super) fn choose(&self) -> Option<PriceChoice> {
        let mut totals: Vec<&ColumnProfile> =
            self.totals.iter().copied().filter(|total| !self.is_of_orders(total)).collect();
        if totals.is_empty() && self.units.is_empty() {
            // The total of an order, with one line of each order.
            totals.clone_from(&self.totals);
        }
        if let Some(system) = self.system {
            let (column, is_total) = match (totals.first(), self.units.first()) {
                (Some(total), None) => (*total, true),
                (_, Some(unit)) => (*unit, false),
                (None, None) => return None,
            };
            let meaning = if is_total { "the total of a line" } else { "the price of one item" };
            return Some(choice(column, is_total, format!("{meaning} in exports of {system}"), None));
        }
        if let Some(quantity) = self.quantity {
            for unit in &self.units {
                for total in totals.iter().filter(|total| total.name != unit.name) {
                    if let Some(choice) = both(unit, total, quantity) {
                        return Some(choice);
                    }
                }
            }
        }
        let (column, is_total) = match (self.units.first(), totals.first()) {
            (Some(unit), _) => (*unit, false),
            (None, Some(total)) => (*total, true),
            (None, None) => return None,
        };
        Some(self.single(column, is_total))
    }

    /// Chooses the meaning of `column`, which is a total by its name if `is_total`.
    fn single(&self, column: &ColumnProfile, is_total: bool) -> PriceChoice {
        let Some(quantity) = self.quantity else {
            let reason = "the only amount, without a column of quantities".to_owned();
            return choice(column, is_total, reason, None);
        };
        let meaning = |is_total| if is_total { "the total of a line" } else { "the price of one item" };
        match self.product.and_then(|product| by_product(column, quantity, product)) {
            Some(found) => {
                let reason = format!(
                    "{}: checked with products of several quantities, whose {} is the same",
                    meaning(found),
                    if found { "value divided by the quantity" } else { "value" }
                );
                let doubt = (found != is_total).then(|| {
                    format!(
                        "by its name, `{}` is {}, but its values are {}",
                        column.name,
                        meaning(is_total),
                        meaning(found)
                    )
                });
                choice(column, found, reason, doubt)
            }
            None => {
                let is_clear = ["unit", "line", "row", "each", "einzel", "ligne", "zeile"]
                    .iter()
                    .any(|word| column.plain.contains(word));
                let reason = format!("{} by its name", meaning(is_total));
                let other = if is_total { "unit_price" } else { "amount" };
                let doubt = (!is_clear).then(|| {
                    format!(
                        "line total or unit price? `{}` is taken for {}, which the values do not tell; if it is {}, \
                         write `{other}` for `{}`",
                        column.name,
                        meaning(is_total),
                        meaning(!is_total),
                        if is_total { "amount" } else { "unit_price" }
                    )
                });
                choice(column, is_total, reason, doubt)
            }
        }
    }

    /// Returns whether `total` is the same in all lines of an order, or only in its first line, although its
    /// lines differ.
    fn is_of_orders(&self, total: &ColumnProfile) -> bool {
        let Some(order) = self.order else { return false };
        let mut orders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, id) in order.values.iter().enumerate().filter(|(_, id)| !id.is_empty()) {
            orders.entry(id).or_default().push(row);
        }
        let line = |row: &usize| {
            let field = |column: Option<&ColumnProfile>| column.map(|column| column.values[*row].clone());
            (field(self.product), field(self.quantity))
        };
        let differ =
            |rows: &&Vec<usize>| rows.len() > 1 && rows.windows(2).any(|two| line(&two[0]) != line(&two[1]));
        let several: Vec<&Vec<usize>> = orders.values().filter(differ).collect();
        let is_one = |rows: &&&Vec<usize>| {
            let first = &total.values[rows[0]];
            rows[1..].iter().all(|row| total.values[*row].is_empty() || total.values[*row] == *first)
        };
        several.len() >= ENOUGH && several.iter().filter(is_one).count() * 10 > several.len() * 9
    }
}

fn choice(column: &ColumnProfile, is_total: bool, reason: String, doubt: Option<String>) -> PriceChoice {
    PriceChoice { source: column.name.clone(), is_total, reason, doubt }
}

/// Chooses between a price and a total by the lines of several items.
fn both(unit: &ColumnProfile, total: &ColumnProfile, quantity: &ColumnProfile) -> Option<PriceChoice> {
    let (mut lines, mut equal, mut less) = (0_usize, 0_usize, 0_usize);
    for ((price, total), items) in unit.numbers.iter().zip(&total.numbers).zip(&quantity.numbers) {
        let (Some(price), Some(total), Some(items)) = (price, total, items) else { continue };
        if *items == 0.0 || (items.abs() - 1.0).abs() < 1e-9 {
            continue;
        }
        let (product, tolerance) = (price * items, 0.006 * items.abs() + 0.006);
        lines += 1;
        if (product - total).abs() <= tolerance {
            equal += 1;
        } else if total.abs() < product.abs() {
            less += 1;
        }
    }
    if lines < ENOUGH {
        return None;
    }
    if equal * 100 >= lines * 98 {
        let reason =
            format!("checked: quantity × `{}` is `{}` in {equal} of {lines} lines", unit.name, total.name);
        return Some(choice(unit, false, reason, None));
    }
    if equal > 0 && (equal + less) * 100 >= lines * 95 {
        let reason = format!(
            "the total of a line, which is less than quantity × `{}` in {less} of {lines} lines, as with discounts",
            unit.name
        );
        return Some(choice(total, true, reason, None));
    }
    None
}

/// Returns whether `column` has totals, by products that were bought in several quantities: of such a product
/// either the value or its quotient by the quantity is always the same.
fn by_product(column: &ColumnProfile, quantity: &ColumnProfile, product: &ColumnProfile) -> Option<bool> {
    let mut products: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for ((id, price), items) in product.values.iter().zip(&column.numbers).zip(&quantity.numbers) {
        if let (Some(price), Some(items)) = (price, items)
            && *price > 0.0
            && *items > 0.0
        {
            products.entry(id).or_default().push((*price, *items));
        }
    }
    let (mut units, mut totals) = (0_usize, 0_usize);
    for lines in products.values() {
        let is_same = |value: &dyn Fn(&(f64, f64)) -> f64| {
            let first = value(&lines[0]);
            lines.iter().all(|line| (value(line) - first).abs() <= 0.006 + 0.001 * first)
        };
        if is_same(&|line| line.1) {
            continue;
        }
        units += usize::from(is_same(&|line| line.0));
        totals += usize::from(is_same(&|line| line.0 / line.1));
    }
    let (most, least) = (units.max(totals), units.min(totals));
    (most >= ENOUGH && most >= 4 * least).then_some(totals > units)
}
