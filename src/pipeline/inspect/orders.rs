//! The likely settings for a file of order lines.

use super::{
    dictionary::{self, ColumnRole},
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
    totals.retain(|column| {
        dictionary::is_total_price(&column.name) || units.iter().all(|unit| unit.name != column.name)
    });
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
    note_unread(finder, mapping);
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
        note_no_quantity(finder, mapping);
    }
}

/// Completes the mapping for a file without a recognized quantity. A default would silence the build, which
/// warns of such files and refuses those with an unmapped name of a quantity, so only an export that is known
/// to have payments gets one.
fn note_no_quantity(finder: &ColumnFinder<'_>, mapping: &mut TableMapping) {
    if finder.system.is_some_and(|system| system.name.starts_with("Stripe")) {
        mapping.defaults.insert("quantity".to_owned(), "1".to_owned());
        return;
    }
    let is_used = |column: &ColumnProfile| mapping.columns.iter().any(|used| used.source == column.name);
    let is_likely = |column: &&ColumnProfile| {
        let is_named = finder.has_name_of(ColumnRole::Quantity, column) && column.time().is_none();
        !is_used(column) && (is_named || has_small_numbers(column))
    };
    let mut likely: Vec<&ColumnProfile> = finder.columns.iter().filter(is_likely).collect();
    likely.sort_by_key(|column| !finder.has_name_of(ColumnRole::Quantity, column));
    let names: Vec<String> =
        likely.iter().take(SHOWN_QUANTITIES).map(|column| format!("`{}`", column.name)).collect();
    let doubt = "no column is known to be the quantity: each line counts as one item";
    mapping.doubts.push(if names.is_empty() {
        doubt.to_owned()
    } else {
        format!("{doubt}; if it is in {}, name that column as `quantity`", names.join(" or "))
    });
}

/// Number of columns that are shown as possible quantities.
const SHOWN_QUANTITIES: usize = 3;

/// Returns whether the values of `column` are several small whole numbers, as quantities are.
fn has_small_numbers(column: &ColumnProfile) -> bool {
    let is_small = |number: &f64| number.abs() < 1_000.0;
    column.value_type == ValueType::Integer
        && column.distinct > 1
        && !dictionary::is_identifier(&column.name)
        && column.numbers.iter().flatten().all(is_small)
}

/// Notes values of quantities, prices and amounts that are not read as numbers.
fn note_unread(finder: &ColumnFinder<'_>, mapping: &mut TableMapping) {
    for column in finder.columns {
        let is_number = mapping.columns.iter().any(|mapped| {
            mapped.source == column.name
                && matches!(mapped.name.as_str(), "quantity" | "unit_price" | "amount")
        });
        let unread = column.present() - column.numbers.iter().flatten().count();
        if is_number && unread > 0 {
            let name = &column.name;
            mapping
                .doubts
                .push(format!("lines in which `{name}` is not a number would be bad lines: {unread}"));
        }
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
