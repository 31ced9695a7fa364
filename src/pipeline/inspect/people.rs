//! The likely settings for a file of customers: types and personal columns of attributes.

use super::{
    dictionary::{self, ColumnRole},
    finder::ColumnFinder,
    mapping::TableMapping,
    profile::{ColumnProfile, ValueType},
};
use crate::feature::feature_name;

/// Maps the columns of a file of customers.
pub(super) fn customers(finder: &ColumnFinder<'_>, mapping: &mut TableMapping) {
    let id = finder.first(ColumnRole::Customer);
    let is_unique = |column: &&ColumnProfile| column.nulls == 0 && column.distinct == column.present();
    let id = match id {
        Some(id) if id.value_type != ValueType::Mail || finder.system.is_some() => Some(id),
        id => finder.columns.iter().find(|column| column.plain == "id").filter(is_unique).or(id),
    };
    mapping.add(ColumnRole::Customer, id);
    let Some(id) = id else {
        mapping.missing.push("customer_id");
        return;
    };
    for role in [ColumnRole::CreatedAt, ColumnRole::UpdatedAt] {
        mapping.add(role, finder.first(role));
    }
    let mut names: Vec<String> = vec!["customer_id".to_owned()];
    for column in finder.columns {
        let known = mapping.columns.iter().find(|mapped| mapped.source == column.name);
        if column.name == id.name || column.name.is_empty() {
            continue;
        }
        let mut name = known.map_or_else(|| feature_name(&column.name), |mapped| mapped.name.clone());
        if names.contains(&name) {
            // Two columns of one name are refused.
            let other = (2..names.len() + 3).map(|at| format!("{name}_{at}"));
            name = other.into_iter().find(|name| !names.contains(name)).unwrap_or(name);
            mapping.set(&name, &column.name, "its name is that of another column, too".to_owned());
        }
        attribute(column, &name, known_time(&name), mapping);
        names.push(name);
    }
    mapping.note_mail_id(id);
}

/// Returns whether the type of the column `name` is fixed.
fn known_time(name: &str) -> bool {
    matches!(name, "created_at" | "updated_at")
}

/// Notes type and protection of an attribute.
fn attribute(column: &ColumnProfile, name: &str, is_fixed: bool, mapping: &mut TableMapping) {
    let numbers = column.numbers.iter().flatten().count();
    let is_exact = numbers == column.present() && !column.has_leading_zeros;
    let is_figure = is_exact && !dictionary::is_identifier(&column.name);
    let phone = column.forms.iter().any(|form| form.starts_with("+9"));
    let value_type = match &column.value_type {
        ValueType::Integer if is_figure && !phone => Some("integer"),
        ValueType::Number if is_figure && !phone => Some("decimal"),
        ValueType::Boolean => Some("boolean"),
        ValueType::Time(guess) if guess.unread == 0 => Some(if guess.is_date { "date" } else { "timestamp" }),
        _ => None,
    };
    let reason = match column.value_type {
        ValueType::Boolean | ValueType::Empty => None,
        ValueType::Mail => Some("a mail address"),
        _ => dictionary::personal_reason(&column.name).or(phone.then_some("a phone number")),
    };
    // A postcode or a phone number is no figure.
    let is_named = reason.is_some() && matches!(value_type, Some("integer" | "decimal"));
    if let Some(value_type) = value_type
        && !is_fixed
        && !is_named
    {
        mapping.types.insert(name.to_owned(), value_type);
    }
    // An empty column may have personal values later.
    let is_empty_name =
        column.value_type == ValueType::Empty && dictionary::personal_reason(&column.name).is_some();
    if reason.is_some() || is_empty_name {
        mapping.personal.push(name.to_owned());
    }
}
