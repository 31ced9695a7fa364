//! Settings of a table as text, by which builds and processes are compared.

use super::{TableSpec, TimeRule};

impl TableSpec {
    /// Returns a text of all settings that the lines of the file `path` depend on: two specs of equal texts
    /// read the file alike. Settings that count later are left out, and the limit for events.
    pub(crate) fn reading(&self, path: &str) -> String {
        let spec = Self { order_span: 0, free_orders: false, ..self.of_file(path).without_limit() };
        format!("{spec:?}")
    }

    /// Returns a text of all settings but the limit for events: two specs of equal texts give the same
    /// tables.
    #[cfg(feature = "cluster")]
    pub(crate) fn settings(&self) -> String {
        let dialects = self.dialects.iter().map(|dialect| (&dialect.files, dialect.spec.without_limit()));
        format!("{:?} {:?}", self.without_limit(), dialects.collect::<Vec<_>>())
    }

    /// Returns the settings without the limit for events and without dialects.
    fn without_limit(&self) -> Self {
        Self { times: TimeRule { newest: 0, ..self.times.clone() }, dialects: Vec::new(), ..self.clone() }
    }
}
