//! `[views]`: custom feature views.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::ColumnRef;

/// The `[views]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// Folder of `.sql` files, one view each. A file with the name of a built-in view replaces that view.
    ///
    /// Default: none. Example: `"views"`.
    pub folder: Option<PathBuf>,
    /// Views read from Parquet that another engine wrote: view name to file or folder, in the lake or
    /// elsewhere. The files of the view `crm` are the table `parquet_crm`; a file `crm.sql` in `folder` reads
    /// the table by its own SQL.
    ///
    /// Default: `{}`.
    pub parquet: BTreeMap<String, String>,
    /// Columns with personal data as `view.column`, in addition to the columns that a view's head declares.
    ///
    /// Default: `[]`.
    pub personal: Vec<ColumnRef>,
}
