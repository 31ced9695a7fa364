//! Search for the columns of a file by use, name and content.

use super::{
    dictionary::{self, ColumnRole, ShopSystem},
    profile::{ColumnProfile, ValueType},
};

/// Search for the columns of a file.
pub(super) struct ColumnFinder<'a> {
    pub(super) columns: &'a [ColumnProfile],
    pub(super) system: Option<&'static ShopSystem>,
}

impl<'a> ColumnFinder<'a> {
    /// Returns the columns that fit to `role`, the likeliest first.
    pub(super) fn all(&self, role: ColumnRole) -> Vec<&'a ColumnProfile> {
        let known = self.system.into_iter().flat_map(|system| system.names(role)).copied();
        let named = known.chain(role.names()).flat_map(|name| self.named(name));
        let mut found: Vec<&ColumnProfile> = Vec::new();
        for column in named.chain(self.by_words(role)) {
            if fits(role, column) && found.iter().all(|known| known.name != column.name) {
                found.push(column);
            }
        }
        found
    }

    /// Returns the likeliest column for `role`. Among product columns, one with a value in each line comes
    /// first.
    pub(super) fn first(&self, role: ColumnRole) -> Option<&'a ColumnProfile> {
        let all = self.all(role);
        let wanted: &dyn Fn(&&&ColumnProfile) -> bool = match role {
            ColumnRole::Product => &|column| column.nulls == 0,
            _ => &|column| column.null_share() < 0.9,
        };
        all.iter().find(wanted).or(all.first()).copied()
    }

    /// Returns whether the name of `column` is usual for `role`, whatever its values are.
    pub(super) fn has_name_of(&self, role: ColumnRole, column: &ColumnProfile) -> bool {
        role.names().any(|name| name == column.plain)
            || self.by_words(role).iter().any(|named| named.name == column.name)
    }

    fn named(&self, plain: &str) -> impl Iterator<Item = &'a ColumnProfile> + use<'a> {
        let plain = plain.to_owned();
        self.columns.iter().filter(move |column| column.plain == plain)
    }

    /// Returns the columns whose names have words that are usual for `role`.
    fn by_words(&self, role: ColumnRole) -> Vec<&'a ColumnProfile> {
        const ENDS: &[&str] = &["id", "no", "nr", "number", "code", "key", "nummer", "ref"];
        let (words, ends): (&[&str], &[&str]) = match role {
            ColumnRole::Customer => {
                (&["customer", "client", "kunde", "buyer", "member", "user", "shopper", "cliente"], ENDS)
            }
            ColumnRole::Order => (
                &[
                    "order",
                    "invoice",
                    "transaction",
                    "receipt",
                    "bestell",
                    "auftrag",
                    "commande",
                    "pedido",
                    "basket",
                ],
                ENDS,
            ),
            ColumnRole::Product => {
                (&["product", "item", "sku", "article", "artikel", "produit", "producto"], ENDS)
            }
            ColumnRole::ProductName => (&["product", "item", "article", "artikel"], &["name", "title"]),
            ColumnRole::Quantity => (&["quantity", "qty", "menge", "数量"], &[""]),
            ColumnRole::UnitPrice => (dictionary::PRICE_PARTS, &[""]),
            ColumnRole::Amount => {
                (&["amount", "total", "sales", "revenue", "betrag", "金额", "value", "paid"], &[""])
            }
            ColumnRole::OrderedAt => {
                let times: Vec<_> = self.columns.iter().filter(|column| column.time().is_some()).collect();
                return if times.len() == 1 { times } else { Vec::new() };
            }
            _ => return Vec::new(),
        };
        let has = |column: &&ColumnProfile| {
            let plain = &column.plain;
            words.iter().any(|word| plain.contains(word)) && ends.iter().any(|end| plain.ends_with(end))
        };
        let is_total =
            |column: &ColumnProfile| role == ColumnRole::Amount && dictionary::is_total_price(&column.name);
        let mut found: Vec<&ColumnProfile> =
            self.columns.iter().filter(|column| has(column) || is_total(column)).collect();
        // Orders in lists, and the elements of their lists, have short names.
        let short: &[&str] = match role {
            ColumnRole::ProductName => &["name", "title"],
            ColumnRole::Product | ColumnRole::Order => &["id"],
            _ => &[],
        };
        let depth = |column: &ColumnProfile| column.name.matches("[].").count();
        let deepest = self.columns.iter().map(depth).max().unwrap_or(0);
        let is_short = |column: &&ColumnProfile| {
            let is_line = depth(column) == deepest && deepest > 0;
            short.contains(&column.plain.as_str()) && (role == ColumnRole::Order || is_line)
        };
        let mut named: Vec<&ColumnProfile> = self.columns.iter().filter(is_short).collect();
        named.sort_by_key(|column| depth(column));
        // In documents with a list of orders, the orders have ids, and the document has none of its own.
        if role == ColumnRole::Order && deepest > 1 {
            named.sort_by_key(|column| depth(column) == 0);
        }
        found.extend(named);
        found
    }
}

/// Returns whether the values of `column` may have the use `role`.
fn fits(role: ColumnRole, column: &ColumnProfile) -> bool {
    let value_type = &column.value_type;
    match role {
        ColumnRole::OrderedAt | ColumnRole::At | ColumnRole::CreatedAt | ColumnRole::UpdatedAt => {
            column.time().is_some()
        }
        ColumnRole::Quantity | ColumnRole::UnitPrice | ColumnRole::Amount => column.is_number(),
        ColumnRole::Customer | ColumnRole::Order | ColumnRole::Product => {
            matches!(value_type, ValueType::Integer | ValueType::Mail | ValueType::Text)
        }
        ColumnRole::Event => *value_type == ValueType::Text && column.distinct <= 20 + column.present() / 10,
        ColumnRole::Currency => *value_type == ValueType::Text && column.distinct <= 60,
        _ => !matches!(value_type, ValueType::Empty),
    }
}
