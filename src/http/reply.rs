//! Answers: entity tags, the audit log of personal data, and the parts that several endpoints write in the
//! same way.

pub(super) mod audit;
pub(super) mod conditional;
pub(super) mod features;
mod freshness;
pub(super) mod list_page;
mod min_count;
mod product_names;
pub(super) mod stored;
pub(super) mod withheld_cells;

pub(super) use conditional::{json, json_tagged, not_modified};
pub(super) use features::{Views, raw};
pub(super) use freshness::Freshness;
pub(super) use list_page::{ListPage, Page, PageHead};
pub(super) use min_count::MinCount;
pub(super) use withheld_cells::TableCell;
