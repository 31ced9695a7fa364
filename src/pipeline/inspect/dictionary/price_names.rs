//! Names of prices: words that tell the price of one item from the total of a line or of an order.

use super::{ColumnRole, plain_name};
use crate::feature::feature_name;

/// Parts of the plain names of prices, of one item or of several.
pub(in crate::pipeline::inspect) const PRICE_PARTS: &[&str] =
    &["price", "preis", "prix", "precio", "preco", "单价"];
/// Parts of the plain names of prices of one item.
const UNIT_PARTS: &[&str] = &["einzel", "stuck", "stueck", "单价", "単価"];
/// Beginnings of words that a price of one item has. They are parts of other words, too: `Beach Total Price`.
const UNIT_WORDS: &[&str] = &["unit", "each", "piece"];
/// Parts of the plain names of totals.
const TOTAL_PARTS: &[&str] = &["total", "gesamt", "extended", "summe", "zeile", "position"];
/// Words for a line.
const LINE_WORDS: &[&str] = &["line", "row", "ligne"];
/// Words that a price of a line or of an order has. They are parts of other words, too: an `Online Price` is
/// no price of a line.
const WHOLE_WORDS: &[&str] = &[
    "line", "row", "order", "ext", "sum", "bestell", "auftrag", "commande", "pedido", "ligne", "línea",
    "linea", "linha",
];
/// Phrases for a price in a web shop, with a word for a line.
const ONLINE: &[&str] = &["en_ligne", "en_línea", "en_linea", "em_linha"];
/// Parts of the plain names of prices of what an order or a line consists of: `Order Item Price`.
const ITEM_PARTS: &[&str] = &["item", "product", "produkt", "produit", "article", "artikel"];

/// Returns whether `name` is that of a price, but of a whole line or order: `Total Price`, `Zeilenpreis`.
pub(in crate::pipeline::inspect) fn is_total_price(name: &str) -> bool {
    let plain = plain_name(name);
    let is_usual = |role: ColumnRole| role.names().any(|known| known == plain);
    if !has_part(&plain, PRICE_PARTS) || is_unit_price(name) || is_usual(ColumnRole::UnitPrice) {
        return false;
    }
    let is_whole = has_word(name, WHOLE_WORDS) || begins_a_price(&plain);
    is_usual(ColumnRole::Amount)
        || has_part(&plain, TOTAL_PARTS)
        || (is_whole && !has_part(&plain, ITEM_PARTS))
}

/// Returns whether `name` leaves no doubt that a column has totals, if `is_total`, or prices of one item.
pub(in crate::pipeline::inspect) fn is_clear_price(name: &str, is_total: bool) -> bool {
    let plain = plain_name(name);
    if !is_total {
        return is_unit_price(name);
    }
    has_part(&plain, TOTAL_PARTS)
        || has_word(name, LINE_WORDS)
        || LINE_WORDS.iter().any(|word| plain.starts_with(word))
}

/// Returns whether `name` says that it is of one item.
fn is_unit_price(name: &str) -> bool {
    let name = words(name);
    let is_of_unit = |word: &str| UNIT_WORDS.iter().any(|unit| word.starts_with(unit));
    has_part(&plain_name(&name), UNIT_PARTS) || name.split('_').any(is_of_unit)
}

fn has_part(plain: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| plain.contains(part))
}

fn has_word(name: &str, words: &[&str]) -> bool {
    self::words(name).split('_').any(|word| words.contains(&word))
}

/// Returns the words of a name in lower case, separated by `_`, without those for a web shop.
fn words(name: &str) -> String {
    let inner = feature_name(name.rsplit("[].").next().unwrap_or(name));
    ONLINE.iter().fold(inner, |name, online| name.replace(online, ""))
}

/// Returns whether the plain name is a word for a whole and one for a price: `orderprice`.
fn begins_a_price(plain: &str) -> bool {
    let is_before_price = |word: &&str| {
        let rest = plain.strip_prefix(*word);
        rest.is_some_and(|rest| PRICE_PARTS.iter().any(|part| rest.starts_with(part)))
    };
    WHOLE_WORDS.iter().any(is_before_price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_totals_from_prices_of_one_item() {
        for name in [
            "Gesamtpreis",
            "Preis gesamt",
            "Zeilenpreis",
            "Positionspreis",
            "Bestellpreis",
            "Total Price",
            "Price Total",
            "total_price",
            "Extended Price",
            "Ext. Price",
            "Line Price",
            "LinePrice",
            "Order Price",
            "OrderPrice",
            "Item Total Price",
            "Prix total",
            "Prix de la ligne",
            "Precio Total",
            "Preço total",
            "Beach Total Price",
            "Community Total Price",
        ] {
            assert!(is_total_price(name), "{name}");
        }
        for name in [
            "Price",
            "Unit Price",
            "Lineitem price",
            "line_items[].price",
            "Line Unit Price",
            "Order Item Price",
            "Item Price",
            "Online Price",
            "Prix en ligne",
            "Precio en línea",
            "UnitPrice",
            "Gross Price",
            "Einzelpreis",
            "Stückpreis je Position",
            "Prix unitaire HT",
            "Precio unitario pedido",
            "Total",
            "Line Total",
        ] {
            assert!(!is_total_price(name), "{name}");
        }
    }

    #[test]
    fn names_are_clear_for_one_meaning() {
        for (name, as_total, as_unit) in [
            ("Line Total", true, false),
            ("Gesamtpreis", true, false),
            ("Unit Price", false, true),
            ("Einzelpreis", false, true),
            ("Price", false, false),
            ("Online Sales", false, false),
        ] {
            assert_eq!(
                (is_clear_price(name, true), is_clear_price(name, false)),
                (as_total, as_unit),
                "{name}"
            );
        }
    }
}
