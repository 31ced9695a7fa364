//! Personal columns that the configuration declares: a service refuses a declaration that it cannot keep.

use super::Serving;
use crate::{
    config::{ColumnRef, shown_to_all},
    feature::{feature_name, near},
    snapshot::{Manifest, SnapshotError},
};

/// View with the columns of the `customers` files.
const PROFILE: &str = "profile";

/// Returns a message about the first of `columns` that no snapshot can keep from callers.
#[must_use]
pub fn unmaskable(columns: &[ColumnRef]) -> Option<String> {
    columns.iter().find_map(|column| {
        let why = shown_to_all(&column.view, &feature_name(&column.column))?;
        Some(format!("`{column}` cannot be personal: {why}"))
    })
}

impl Serving {
    /// Checks that `manifest` has the columns that the configuration declares personal. A column that only
    /// another snapshot in the lake has is spelled correctly: the column is new, or was removed.
    ///
    /// # Errors
    /// [`SnapshotError::Personal`] with the column and similar names.
    pub async fn check_declared(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let refused = |why| SnapshotError::Personal { id: manifest.id.clone(), why };
        if let Some(why) = unmaskable(&self.personal) {
            return Err(refused(why));
        }
        let mut unknown: Vec<&ColumnRef> =
            self.personal.iter().filter(|column| !has_column(manifest, column)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if let Ok(others) = self.snapshots().await {
            unknown.retain(|column| !others.iter().any(|other| has_column(other, column)));
        }
        for column in unknown {
            let view = manifest.views.iter().find(|view| view.name == column.view);
            let hint = match view {
                Some(view) => near::hint(&column.column, view.features.iter().map(|f| f.name.as_str())),
                None => near::hint(&column.view, manifest.views.iter().map(|view| view.name.as_str())),
            };
            // A column of the `customers` files need not be in any view.
            if column.view == PROFILE && hint.is_empty() {
                tracing::warn!(%column, snapshot = %manifest.id, "no view has this personal column");
                continue;
            }
            return Err(refused(format!(
                "`{column}` is declared personal, and there is no such column{hint}"
            )));
        }
        Ok(())
    }
}

/// Checks whether `manifest` has `column`. Other views than `profile` take over columns of the `customers`
/// files under the same name.
fn has_column(manifest: &Manifest, column: &ColumnRef) -> bool {
    let feature = feature_name(&column.column);
    let is_raw = column.view == PROFILE;
    if is_raw && !manifest.sources.iter().any(|source| source.table == "customers") {
        return true;
    }
    let mut views = manifest.views.iter().filter(|view| is_raw || view.name == column.view);
    views.any(|view| view.features.iter().any(|known| known.name == feature))
}
