//! Price of a unit or total of a line: told by quantity × price across lines, or else by the name.

use std::collections::BTreeMap;

use super::{dictionary, profile::ColumnProfile};

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
    /// Columns that may have the price of a unit, the likeliest first. Those with the name of a total are
    /// among `totals`, too: only values can tell that they have prices of one item.
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
        let unit = self.units.iter().copied().find(|unit| !dictionary::is_total_price(&unit.name));
        if totals.is_empty() && unit.is_none() {
            // The total of an order, with one line of each order.
            totals.clone_from(&self.totals);
        }
        if let Some(system) = self.system {
            let (column, is_total) = match (totals.first(), self.units.first()) {
                (Some(total), None) => (*total, true),
                (_, Some(unit)) => (*unit, false),
                (None, None) => return None,
            };
            let meaning = meaning(is_total);
            return Some(choice(column, is_total, format!("{meaning} in exports of {system}"), None));
        }
        if let Some(quantity) = self.quantity {
            for unit in &self.units {
                // Of two totals, one may be less than the other for many reasons.
                let is_named_total = dictionary::is_total_price(&unit.name);
                for total in totals.iter().filter(|total| total.name != unit.name) {
                    if let Some(choice) = both(unit, total, quantity)
                        && !(choice.is_total && is_named_total)
                    {
                        return Some(choice);
                    }
                }
            }
        }
        let (column, is_total) = match (unit, totals.first()) {
            (Some(unit), _) => (unit, false),
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
        let Some(found) = self.product.and_then(|product| by_product(column, quantity, product)) else {
            return by_name(column, is_total);
        };
        let reason = format!(
            "{}: checked with products of several quantities, whose {} varies less",
            meaning(found),
            if found { "value divided by the quantity" } else { "value" }
        );
        let doubt = (found != is_total).then(|| {
            let (by_name, by_values) = (meaning(is_total), meaning(found));
            format!("by its name, `{}` is {by_name}, but its values are {by_values}", column.name)
        });
        choice(column, found, reason, doubt)
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

/// Returns the meaning of a column in words.
fn meaning(is_total: bool) -> &'static str {
    if is_total { "the total of a line" } else { "the price of one item" }
}

/// Returns the choice of `column`, whose meaning only its name tells.
fn by_name(column: &ColumnProfile, is_total: bool) -> PriceChoice {
    let is_clear = dictionary::is_clear_price(&column.name, is_total);
    let (name, other) = if is_total { ("amount", "unit_price") } else { ("unit_price", "amount") };
    let doubt = (!is_clear).then(|| {
        format!(
            "line total or unit price? `{}` is taken for {}, which the values do not tell; if it is {}, \
             write `{other}` for `{name}`",
            column.name,
            meaning(is_total),
            meaning(!is_total)
        )
    });
    choice(column, is_total, format!("{} by its name", meaning(is_total)), doubt)
}

fn choice(column: &ColumnProfile, is_total: bool, reason: String, doubt: Option<String>) -> PriceChoice {
    PriceChoice { source: column.name.clone(), is_total, reason, doubt }
}

/// Chooses between a price and a total by the lines of several items.
fn both(unit: &ColumnProfile, total: &ColumnProfile, quantity: &ColumnProfile) -> Option<PriceChoice> {
    let (mut several, mut equal, mut less) = (0_usize, 0_usize, 0_usize);
    let mut less_of_one = 0_usize;
    for ((price, total), items) in unit.numbers.iter().zip(&total.numbers).zip(&quantity.numbers) {
        let (Some(price), Some(total), Some(items)) = (price, total, items) else { continue };
        if *items == 0.0 {
            continue;
        }
        let (product, tolerance) = (price * items, 0.006 * items.abs() + 0.006);
        let is_equal = (product - total).abs() <= tolerance;
        let is_less = !is_equal && total.abs() < product.abs();
        // The line of one item does not tell a price from a total, but it may have a discount.
        if (items.abs() - 1.0).abs() < 1e-9 {
            less_of_one += usize::from(is_less);
            continue;
        }
        several += 1;
        equal += usize::from(is_equal);
        less += usize::from(is_less);
    }
    if several < ENOUGH {
        return None;
    }
    let lines = several + less_of_one;
    less += less_of_one;
    if equal * 100 >= lines * 98 {
        let reason =
            format!("checked: quantity × `{}` is `{}` in {equal} of {lines} lines", unit.name, total.name);
        return Some(choice(unit, false, reason, None));
    }
    if equal > 0 && (equal + less) * 100 >= lines * 95 {
        let reason = format!(
            "the total of a line, which is less than quantity × `{}` in {less} of {lines} lines, as with \
             discounts",
            unit.name
        );
        return Some(choice(total, true, reason, None));
    }
    None
}

/// Returns whether `column` has totals, by products that were bought in several quantities: of such a product
/// either the value or its quotient by the quantity varies less.
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
        let spread = |value: &dyn Fn(&(f64, f64)) -> f64| {
            let (least, most) = lines
                .iter()
                .map(value)
                .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
            (most / least).ln()
        };
        if spread(&|line| line.1) < 0.1 {
            continue;
        }
        let (unit, total) = (spread(&|line| line.0), spread(&|line| line.0 / line.1));
        units += usize::from(unit * 2.0 < total);
        totals += usize::from(total * 2.0 < unit);
    }
    let (most, least) = (units.max(totals), units.min(totals));
    (most >= ENOUGH && most >= 4 * least).then_some(totals > units)
}

#[cfg(test)]
mod tests {
    use super::super::profile::profile;
    use super::*;

    /// Returns the choice for lines of the columns order, product, quantity, and those of `names`.
    fn chosen(names: [&str; 2], lines: impl Fn(usize, usize) -> [String; 2]) -> Option<PriceChoice> {
        let mut rows = Vec::new();
        for at in 0..30_usize {
            let (product, quantity) = (at % 5, at % 4 + 1);
            let [first, second] = lines(product, quantity);
            rows.push(vec![(at / 3).to_string(), format!("p{product}"), quantity.to_string(), first, second]);
        }
        let header = ["order", "product", "quantity", names[0], names[1]].map(str::to_owned);
        let columns = profile(&header, rows).columns;
        let of = |name: &str| columns.iter().filter(|column| column.name == name).collect::<Vec<_>>();
        let choice = PriceColumns {
            units: of("price"),
            totals: of("total"),
            quantity: Some(&columns[2]),
            order: Some(&columns[0]),
            product: Some(&columns[1]),
            system: None,
        };
        choice.choose()
    }

    #[test]
    fn values_decide_before_names() {
        let price = |product: usize| format!("{}.5", product + 2);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let total = |product: usize, quantity: usize| format!("{}", (product as f64 + 2.5) * quantity as f64);
        let found = |choice: Option<PriceChoice>| {
            choice.map(|choice| (choice.source, choice.is_total, choice.doubt.is_some()))
        };
        let is = |name: &str, is_total, is_doubt| Some((name.to_owned(), is_total, is_doubt));
        let both = chosen(["price", "total"], |product, quantity| [price(product), total(product, quantity)]);
        assert_eq!(found(both), is("price", false, false));
        let unit = chosen(["price", "x"], |product, _| [price(product), String::new()]);
        assert_eq!(found(unit), is("price", false, false));
        // A column `price` with totals is told by its values.
        let named = chosen(["price", "x"], |product, quantity| [total(product, quantity), String::new()]);
        assert_eq!(found(named), is("price", true, true));
        let of_lines = chosen(["total", "x"], |product, quantity| [total(product, quantity), String::new()]);
        assert_eq!(found(of_lines), is("total", true, false));
        // With discounts, the total is what was paid.
        let discounted = chosen(["price", "total"], |product, quantity| {
            let paid = if quantity == 2 { 1 } else { quantity };
            [price(product), total(product, paid)]
        });
        assert_eq!(found(discounted), is("total", true, false));
        let of_one_item = chosen(["price", "total"], |product, quantity| {
            let paid = if quantity == 1 { "1".to_owned() } else { total(product, quantity) };
            [price(product), paid]
        });
        assert_eq!(found(of_one_item), is("total", true, false));
        // The total of an order is in each of its lines.
        let of_orders = chosen(["price", "total"], |product, _| [price(product), "99".to_owned()]);
        assert_eq!(found(of_orders), is("price", false, false));
        assert_eq!(chosen(["x", "y"], |_, _| [String::new(), String::new()]), None);
    }
}
