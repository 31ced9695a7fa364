//! Which columns hold personal data, as far as the configuration says. Knows of no view what columns it has.

use std::fmt;

use serde::Deserialize;

use super::Config;

/// A column of a view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ColumnRef {
    /// The view.
    pub view: String,
    /// Its column.
    pub column: String,
}

impl TryFrom<String> for ColumnRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('.').filter(|(view, column)| !view.is_empty() && !column.is_empty());
        let (view, column) =
            parts.ok_or_else(|| format!("`{text}` is no column of a view; write view.column"))?;
        Ok(Self { view: view.to_owned(), column: column.to_owned() })
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.column)
    }
}

impl Config {
    /// The columns that the configuration calls personal. A service masks them also where the snapshot was built before it did.
    #[must_use]
    pub fn personal(&self) -> Vec<ColumnRef> {
        let raw = self.raw.customers.personal.iter();
        let raw = raw.map(|column| ColumnRef { view: "profile".to_owned(), column: column.clone() });
        raw.chain(self.views.personal.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_with_their_view() {
        let text = "[views]\npersonal = [\"crm.mail\"]\n[raw.customers]\npersonal = [\"email\"]";
        let config = Config::parse(text, "larder.toml", []).expect("valid");
        assert_eq!(
            config.personal().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["profile.email", "crm.mail"]
        );
        for wrong in ["", "mail", ".mail", "crm."] {
            assert!(
                ColumnRef::try_from(wrong.to_owned()).is_err_and(|why| why.contains("view.column")),
                "{wrong}"
            );
        }
    }
}
