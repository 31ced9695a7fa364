//! The identity of a driver or worker: all that must be equal for the same input to give the same bytes.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    pipeline::raw::{Table, TableSpec},
    views::ViewDefinition,
};

/// Hash of the code of builds, and of the versions of all libraries.
const CODE: &str = env!("PIPELINE_HASH");
/// Number of hexadecimal digits of a hash that messages show.
const SHOWN: usize = 12;

/// Versions and settings of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::pipeline) struct Identity {
    larder: String,
    datafusion: String,
    code: String,
    /// Hash of the settings by which raw files are read and tables are derived.
    raw: String,
    /// Hash of the views and of the settings that they depend on.
    views: String,
}

impl Identity {
    /// Returns the identity of this process, which reads raw files by `specs` and runs `views`. `exclude` has
    /// the patterns of ids that are not products.
    pub(in crate::pipeline) fn new(
        specs: &BTreeMap<Table, TableSpec>,
        views: &[ViewDefinition],
        exclude: &[String],
    ) -> Self {
        let specs = specs.iter().map(|(table, spec)| format!("{}\n{}\n", table.name(), spec.settings()));
        let excluded = exclude.iter().map(|pattern| format!("exclude {pattern}\n"));
        let views = views.iter().map(|view| format!("{}\n{}\n{}\n", view.name, view.step, view.sql));
        Self {
            larder: env!("CARGO_PKG_VERSION").to_owned(),
            datafusion: datafusion::DATAFUSION_VERSION.to_owned(),
            code: CODE.to_owned(),
            raw: hash(specs),
            views: hash(views.chain(excluded)),
        }
    }

    /// Returns why a worker of the identity `worker` cannot work for this driver, or `None` if it can.
    pub(super) fn refuses(&self, worker: &Self) -> Option<String> {
        let short = |hash: &str| hash.chars().take(SHOWN).collect::<String>();
        let differences = [
            ("versions of Larder differ", self.larder.clone(), worker.larder.clone()),
            ("versions of DataFusion differ", self.datafusion.clone(), worker.datafusion.clone()),
            ("builds of Larder differ", short(&self.code), short(&worker.code)),
            ("settings in [raw] differ", short(&self.raw), short(&worker.raw)),
            ("views, or exclude in [recommendations], differ", short(&self.views), short(&worker.views)),
        ];
        differences
            .into_iter()
            .find(|(_, driver, worker)| driver != worker)
            .map(|(what, driver, worker)| format!("{what}: the worker has {worker}, the build {driver}"))
    }
}

/// Returns the SHA-256 of `texts`.
fn hash(texts: impl Iterator<Item = String>) -> String {
    let hash = texts.fold(Sha256::new(), Sha256::chain_update);
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    fn identity(raw: &RawConfig) -> Identity {
        Identity::new(&TableSpec::all(raw).expect("valid settings"), &[], &[])
    }

    #[test]
    fn processes_of_one_version_and_setting_work_together() {
        let driver = identity(&RawConfig::default());
        assert_eq!(driver.refuses(&driver), None);
        // The clock decides the latest time of an event, and the driver's counts.
        let later = RawConfig { newest: Some("2030-01-01".to_owned()), ..RawConfig::default() };
        assert_eq!(driver.refuses(&identity(&later)), None);
    }

    #[test]
    fn difference_is_named() {
        let driver = identity(&RawConfig::default());
        let east = RawConfig { zone: "Asia/Shanghai".to_owned(), ..RawConfig::default() };
        let mut span = RawConfig::default();
        span.transactions.order_span = Some(std::time::Duration::from_hours(1));
        let cases = [
            (
                Identity { larder: "0.0.1".to_owned(), ..driver.clone() },
                "versions of Larder differ: the worker has 0.0.1",
            ),
            (
                Identity { datafusion: "1.0.0".to_owned(), ..driver.clone() },
                "versions of DataFusion differ: the worker has 1.0.0",
            ),
            (
                Identity { code: "0".repeat(16), ..driver.clone() },
                "builds of Larder differ: the worker has 0000",
            ),
            (identity(&east), "settings in [raw] differ"),
            (identity(&span), "settings in [raw] differ"),
            (
                Identity::new(
                    &TableSpec::all(&RawConfig::default()).expect("valid"),
                    &[],
                    &["POST".to_owned()],
                ),
                "views, or exclude in [recommendations], differ",
            ),
        ];
        for (worker, expected) in cases {
            let why = driver.refuses(&worker).expect("a refusal");
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
