//! Counts and observations of all raw files.

use std::collections::{BTreeMap, HashMap};

use super::{
    attributes::SeenAttributes,
    event_span::EventSpan,
    file_outcome::{EXAMPLES, FileOutcome},
    guests::GuestLines,
    sorted_run::SortedRun,
    staged_lines::StagedLines,
};
use crate::{
    pipeline::raw::{RawError, Table, TableSpec, files::RawFile},
    snapshot::{BadCause, RawSource, TableCounts, Warning},
};

/// Outcome of reading all files.
#[derive(Debug, Default)]
pub(crate) struct ReadOutcome {
    /// Sorted runs by table.
    pub(crate) runs: BTreeMap<Table, Vec<SortedRun>>,
    /// Numbers of lines by table and fate. The fates of the derivation are added later.
    pub(crate) counts: BTreeMap<String, TableCounts>,
    pub(crate) sources: Vec<RawSource>,
    /// Time of the newest event in microseconds.
    pub(crate) newest: Option<i64>,
    /// Events by span of 30 days since 1970.
    pub(crate) spans: BTreeMap<i64, EventSpan>,
    /// Whether any customer has a `created_at`.
    pub(crate) has_created_at: bool,
    /// Attributes: the other columns of `customers`.
    pub(crate) extras: SeenAttributes,
    /// Names of the staged attributes, in the order of their numbers.
    pub(crate) attribute_names: Vec<String>,
    /// Guest lines by a hash of their order.
    pub(crate) guests: HashMap<u64, GuestLines>,
    /// Warnings of the readers.
    pub(crate) warnings: Vec<Warning>,
    /// Currencies, each with the place of its first line.
    currencies: BTreeMap<String, String>,
}

impl ReadOutcome {
    /// Adds the staged lines of all `files`, which are by index. `same` names the file that is read instead
    /// of a file of the same content.
    pub(super) fn add_files(
        &mut self,
        files: &[RawFile],
        mut staged: BTreeMap<usize, StagedLines>,
        same: &BTreeMap<usize, String>,
    ) {
        let mut guests: BTreeMap<Table, Vec<u64>> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            let mut source = RawSource {
                table: file.table.name().to_owned(),
                path: file.shown.clone(),
                bytes: file.bytes,
                sha256: String::new(),
                lines: 0,
                physical_lines: 0,
                same_as: None,
            };
            if let Some(StagedLines { sha256, outcome, .. }) = staged.remove(&at) {
                source.sha256 = sha256;
                (source.lines, source.physical_lines) = (outcome.lines, outcome.physical_lines);
                guests.entry(file.table).or_default().extend(&outcome.guest_lines);
                self.add(file, outcome);
            } else {
                source.same_as = same.get(&at).cloned();
            }
            self.sources.push(source);
        }
        let hashes: BTreeMap<String, String> =
            self.sources.iter().map(|source| (source.path.clone(), source.sha256.clone())).collect();
        for source in &mut self.sources {
            if let Some(hash) = source.same_as.as_ref().and_then(|twin| hashes.get(twin)) {
                source.sha256.clone_from(hash);
            }
        }
        for (table, mut hashes) in guests {
            hashes.sort_unstable();
            let equal = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
            self.counts.entry(table.name().to_owned()).or_default().duplicates += equal as u64;
        }
    }

    /// Checks that all lines are in one currency, unless `spec` converts currencies.
    pub(super) fn check_currencies(&self, spec: Option<&TableSpec>) -> Result<(), RawError> {
        if self.currencies.len() > 1 && spec.is_some_and(|spec| !spec.currency.converts()) {
            let shown = |(name, place): (&String, &String)| format!("{name} ({place})");
            return Err(RawError::Currencies { currencies: self.currencies.iter().map(shown).collect() });
        }
        Ok(())
    }

    /// Sorts the causes of bad lines, the most frequent first, and checks the share of bad lines of each
    /// table.
    pub(super) fn check_bad_shares(&mut self, max_bad_share: f64) -> Result<(), RawError> {
        for table in Table::ALL {
            let Some(counts) = self.counts.get_mut(table.name()) else { continue };
            counts.bad_causes.sort_by(|a, b| b.lines.cmp(&a.lines).then_with(|| a.cause.cmp(&b.cause)));
            let bad = counts.fates.get("bad").copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            if bad as f64 > max_bad_share * counts.lines as f64 {
                return Err(RawError::TooManyBad {
                    table: table.name(),
                    bad,
                    lines: counts.lines,
                    limit: max_bad_share,
                    causes: counts.bad_causes.clone(),
                });
            }
        }
        Ok(())
    }

    /// Adds the outcome of one file.
    fn add(&mut self, file: &RawFile, outcome: FileOutcome) {
        let counts = self.counts.entry(file.table.name().to_owned()).or_default();
        counts.lines += outcome.lines;
        counts.physical_lines += outcome.physical_lines;
        self.warnings.extend(outcome.warnings);
        for (currency, place) in outcome.currencies {
            self.currencies.entry(currency).or_insert(place);
        }
        let bad = outcome.bad.values().map(|cause| cause.lines).sum();
        for (fate, lines) in
            [("bad", bad), ("no_customer", outcome.no_customer), ("forgotten", outcome.forgotten)]
        {
            *counts.fates.entry(fate.to_owned()).or_default() += lines;
        }
        for (text, cause) in outcome.bad {
            let causes = &mut counts.bad_causes;
            let place = causes.iter().position(|known| known.cause == text).unwrap_or_else(|| {
                causes.push(BadCause { cause: text, ..BadCause::default() });
                causes.len() - 1
            });
            let known = &mut causes[place];
            known.lines += cause.lines;
            let missing = EXAMPLES.saturating_sub(known.examples.len());
            known.examples.extend(cause.examples.into_iter().take(missing));
        }
        self.newest = self.newest.max(outcome.newest);
        for (span, events) in outcome.spans {
            self.spans.entry(span).or_default().add(events);
        }
        for (order, guests) in outcome.guest_orders.orders {
            self.guests.entry(order).or_default().add(guests);
        }
        self.has_created_at |= outcome.has_created_at;
        self.extras.add(outcome.extras);
    }
}
