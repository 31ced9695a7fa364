//! The likely settings for a file of order lines.

use super::{
    dictionary::ColumnRole,
    finder::ColumnFinder,
    mapping::TableMapping,
    prices::PriceColumns,
    profile::{ColumnProfile, ValueType},
};

/// Maps the columns of a file of order lines.
pub(super) fn transactions(finder: &ColumnFinder<'_>, mapping: &mut TableMapping) {
    use ColumnRole::{
        Amount, Category, Country, Currency, Customer, Order, OrderedAt, Product, ProductName, Quantity,
        UnitPrice,
    };
    let [customer, order, time, quantity, name] =
        [Customer, Order, OrderedAt, Quantity, ProductName].map(|role| finder.first(role));
    let is_order = |product: &&ColumnProfile| order.is_some_and(|order| order.name == product.name);
    let product = finder.first(Product);
    let product = if product.as_ref().is_some_and(is_order) { None } else { product };
    // The description of a payment is no product.
    let is_of_payment =
        |name: &&ColumnProfile| product.is_none() && quantity.is_none() && name.plain == "description";
    let name = if name.as_ref().is_some_and(is_of_payment) { None } else { name };
    for (role, column) in [(Customer, customer), (Order, order), (Product, product)] {
        mapping.add(role, column);
    }
    for (role, column) in [(ProductName, name), (Category, finder.first(Category)), (Quantity, quantity)] {
        if column.map(|column| &column.name) != product.map(|column| &column.name) || role == Quantity {
            mapping.add(role, column);
        }
    }
    let known = finder.system.filter(|system| {
        let names = [UnitPrice, Amount].map(|role| system.names(role));
        names.iter().any(|names| !names.is_empty())
    });
    let (mut units, mut totals) = (finder.all(UnitPrice), finder.all(Amount));
    if let Some(system) = known {
        let of_system = |role, column: &&ColumnProfile| system.names(role).contains(&column.plain.as_str());
        units.retain(|column| of_system(UnitPrice, column));
        totals.retain(|column| of_system(Amount, column));
    }
    units.retain(|column| Some(&column.name) != quantity.map(|quantity| &quantity.name));
    totals.retain(|column| units.iter().all(|unit| unit.name != column.name));
    let known = known.filter(|_| !units.is_empty() || !totals.is_empty()).map(|system| system.name);
    let prices = PriceColumns { units, totals, quantity, order, product, system: known };
    match prices.choose() {
        Some(choice) => {
            mapping.set(if choice.is_total { "amount" } else { "unit_price" }, &choice.source, choice.reason);
            mapping.doubts.extend(choice.doubt);
            let is_api = finder.columns.iter().any(|column| column.plain == "object");
            let is_stripe = finder.system.is_some_and(|system| system.name.starts_with("Stripe"));
            if is_stripe && is_api {
                mapping.scale = Some(2);
                mapping.doubts.push(
                    "amounts of Stripe's API are in cents, or in whole units of some currencies".to_owned(),
                );
            }
        }
        None => mapping.missing.push("unit_price or amount"),
    }
    for (role, column) in
        [(OrderedAt, time), (Currency, finder.first(Currency)), (Country, finder.first(Country))]
    {
        mapping.add(role, column);
    }
    note_absent(finder, mapping, [customer, order, time, quantity, name]);
    if let (Some(order), Some(time)) = (order, time) {
        mapping.fills_orders =
            [Some(time), customer].into_iter().flatten().any(|column| is_of_first_line(order, column));
    }
    if let Some(currency) = finder.first(Currency)
        && currency.distinct > 1
    {
        let mut names: Vec<String> =
            currency.values.iter().filter(|name| name.len() == 3).map(|name| name.to_uppercase()).collect();
        names.sort();
        names.dedup();
        mapping.currencies = names;
        mapping
            .doubts
            .push("there are several currencies, which are not added up without [raw.currency]".to_owned());
    }
    if quantity.is_some_and(|quantity| quantity.value_type == ValueType::Number) {
        mapping.has_decimal_quantities = true;
    }
}

/// Completes the mapping for columns that the file does not have.
fn note_absent(finder: &ColumnFinder<'_>, mapping: &mut TableMapping, found: [Option<&ColumnProfile>; 5]) {
    let [customer, order, time, quantity, name] = found;
    match customer {
        None => mapping.missing.push("customer_id"),
        Some(customer) => mapping.note_mail_id(customer),
    }
    if time.is_none() {
        mapping.missing.push("ordered_at");
    }
    if order.is_none()
        && let Some(time) = time
    {
        mapping.set("order_id", &time.name, "the time, since there is no number of orders".to_owned());
        mapping
            .doubts
            .push("there is no order id: the lines of a customer at one time are one order".to_owned());
    }
    if !mapping.has("product_id") {
        if let Some(name) = name {
            mapping.set(
                "product_id",
                &name.name,
                "the name, since there is no number of products".to_owned(),
            );
        } else {
            mapping.defaults.insert("product_id".to_owned(), "unknown".to_owned());
            mapping.doubts.push("there is no product: all lines count as one product, `unknown`".to_owned());
        }
    } else if let Some(product) = finder.first(ColumnRole::Product)
        && product.nulls > 0
    {
        mapping
            .doubts
            .push(format!("{} lines have no `{}` and would be bad lines", product.nulls, product.name));
    }
    if quantity.is_none() {
        mapping.defaults.insert("quantity".to_owned(), "1".to_owned());
    }
}

/// Returns whether only the first line of each order has a value of `column`.
fn is_of_first_line(order: &ColumnProfile, column: &ColumnProfile) -> bool {
    let (mut first, mut later, mut empty) = ("", 0, 0);
    let mut has_value = false;
    for (id, value) in order.values.iter().zip(&column.values) {
        if id.is_empty() || id != first {
            (first, has_value) = (id, !value.is_empty());
        } else if has_value {
            later += 1;
            empty += usize::from(value.is_empty());
        }
    }
    later > 0 && empty * 10 > later * 9
}
