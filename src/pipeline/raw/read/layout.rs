//! Where the fields of a file's lines come from: columns of the file, folders and defaults.

use crate::pipeline::raw::{
    header::ColumnPlaces,
    spec::TableSpec,
    table::{MAX_COLUMNS, Table, transaction_column},
};

/// Sources of the fields of each line of a file.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// Fields of columns that are the same in all lines; the others are empty.
    pub(super) base: [&'a str; MAX_COLUMNS],
    /// Columns of the spec, each with its position in the file.
    pub(super) placed: Vec<(usize, usize)>,
    /// Whether lines have the total amount instead of the price of a unit.
    pub(super) is_total: bool,
}

impl<'a> Layout<'a> {
    /// Returns the layout of a file with the `places` of columns among the first `width` columns, after which
    /// `folder_columns` follow.
    pub(super) fn new(
        spec: &'a TableSpec,
        places: &ColumnPlaces,
        width: usize,
        folder_columns: &'a [(String, String)],
    ) -> Self {
        let is_total =
            spec.table == Table::Transactions && places.places[transaction_column::UNIT_PRICE].is_none();
        let mut layout = Self { base: [""; MAX_COLUMNS], placed: Vec::new(), is_total };
        for (at, place) in places.places.iter().enumerate() {
            match place {
                Some(place) if *place < width => layout.placed.push((at, *place)),
                Some(place) => layout.base[at] = &folder_columns[place - width].1,
                None => {}
            }
        }
        if spec.table == Table::Transactions && places.places[transaction_column::QUANTITY].is_none() {
            layout.base[transaction_column::QUANTITY] = "1";
        }
        layout
    }
}
