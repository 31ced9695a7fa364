//! The identity of a driver or worker: all that must be equal for the same input to give the same bytes.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pipeline::raw::{Table, TableSpec};

/// Hash of the code that reads raw files, and of the versions of all libraries.
const CODE: &str = env!("READER_HASH");
/// Number of hexadecimal digits of a hash that messages show.
const SHOWN: usize = 12;

/// Versions and settings of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::pipeline) struct Identity {
    larder: String,
    datafusion: String,
    code: String,
    /// Hash of the settings by which raw files are read.
    raw: String,
}

impl Identity {
    /// Returns the identity of this process, which reads raw files by `specs`.
    pub(in crate::pipeline) fn new(specs: &BTreeMap<Table, TableSpec>) -> Self {
        let mut hash = Sha256::new();
        for (table, spec) in specs {
            hash.update(format!("{}\n{}\n", table.name(), spec.reading("")));
        }
        let raw = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self {
            larder: env!("CARGO_PKG_VERSION").to_owned(),
            datafusion: datafusion::DATAFUSION_VERSION.to_owned(),
            code: CODE.to_owned(),
            raw,
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
        ];
        differences
            .into_iter()
            .find(|(_, driver, worker)| driver != worker)
            .map(|(what, driver, worker)| format!("{what}: the worker has {worker}, the build {driver}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    fn identity(raw: &RawConfig) -> Identity {
        Identity::new(&TableSpec::all(raw).expect("valid settings"))
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
        ];
        for (worker, expected) in cases {
            let why = driver.refuses(&worker).expect("a refusal");
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
