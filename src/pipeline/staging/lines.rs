//! Reading of all raw files, each once, on several threads: valid lines are spilled, bad lines and guest
//! lines are counted.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    attributes::{AttributeNames, SeenAttributes},
    event_span::EventSpan,
    guests::{GuestLines, GuestOrders, order_hash},
    spill::{SpillFile, SpillWriter},
    staging,
};
use crate::{
    pipeline::raw::{
        RawError, Table, TableSpec,
        check::{LineError, LineFields, RawLine},
        files::{RawFile, same_content},
        read::{FileRead, LinePlace, read_file},
    },
    snapshot::{BadCause, Forgotten, RawSource, TableCounts, Warning},
};

/// Number of bad lines of one cause that are kept as examples.
const EXAMPLES: usize = 5;
/// Length of the spans of time in which events are counted: 30 days in microseconds.
const SPAN: i64 = 30 * 86_400_000_000;

/// Outcome of reading all files.
#[derive(Debug, Default)]
pub(crate) struct ReadOutcome {
    /// Spill files by table.
    pub(crate) spills: BTreeMap<Table, Vec<SpillFile>>,
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
    /// Names of the spilled attributes, in the order of their numbers.
    pub(crate) attribute_names: Vec<String>,
    /// Guest lines by a hash of their order.
    pub(crate) guests: HashMap<u64, GuestLines>,
    /// Warnings of the readers.
    pub(crate) warnings: Vec<Warning>,
    /// Currencies, each with the place of its first line.
    currencies: BTreeMap<String, String>,
}

/// Outcome of reading one file.
#[derive(Debug, Default)]
struct FileOutcome {
    read: Option<FileRead>,
    /// Number of guest lines.
    no_customer: u64,
    /// Number of lines of erased customers.
    forgotten: u64,
    /// Bad lines by cause.
    bad: BTreeMap<String, BadCause>,
    newest: Option<i64>,
    spans: BTreeMap<i64, EventSpan>,
    /// Span of the last event, and its events that are not yet in `spans`.
    span: (i64, EventSpan),
    has_created_at: bool,
    extras: SeenAttributes,
    /// Hash of each guest line, to count equal lines. Other lines are compared where they are sorted.
    guest_lines: Vec<u64>,
    /// Currencies, each with the place of its first line.
    currencies: BTreeMap<String, String>,
}

/// Input of [`read`].
pub(crate) struct ReadInput {
    pub(crate) files: Vec<RawFile>,
    pub(crate) specs: BTreeMap<Table, TableSpec>,
    pub(crate) partitions: usize,
    pub(crate) threads: usize,
    pub(crate) max_bad_share: f64,
    /// Folder for spill files.
    pub(crate) scratch: PathBuf,
    /// Number of bytes read.
    pub(crate) progress: Arc<AtomicU64>,
    /// Erased customers, whose lines are counted and not kept.
    pub(crate) forgotten: Arc<Forgotten>,
}

/// State that the reading threads share.
struct ReadJob {
    input: ReadInput,
    /// Indexes of the files to read, the largest first.
    queue: Vec<usize>,
    next: AtomicUsize,
    attribute_names: Arc<AttributeNames>,
}

/// Reads all files and spills the valid lines.
///
/// # Errors
/// Fails if a file cannot be read, or if the share of bad lines is too high.
pub(crate) async fn read(input: ReadInput) -> Result<ReadOutcome, RawError> {
    let same = same_content(&input.files).await?;
    let mut queue: Vec<usize> = (0..input.files.len()).filter(|at| !same.contains_key(at)).collect();
    queue.sort_by_key(|at| std::cmp::Reverse(input.files[*at].bytes));
    let job = Arc::new(ReadJob { input, queue, next: AtomicUsize::new(0), attribute_names: Arc::default() });
    let workers: Vec<_> = (0..job.input.threads)
        .map(|thread| {
            let job = Arc::clone(&job);
            tokio::task::spawn_blocking(move || job.work(thread))
        })
        .collect();
    let mut outcomes: BTreeMap<usize, Result<FileOutcome, RawError>> = BTreeMap::new();
    let mut total = ReadOutcome::default();
    for worker in workers {
        let thread = worker.await.map_err(|error| staging(&job.input.scratch, error))??;
        outcomes.extend(thread.outcomes);
        for (table, file) in thread.spills {
            total.spills.entry(table).or_default().push(file);
        }
        for (order, guests) in thread.guests.orders {
            total.guests.entry(order).or_default().add(guests);
        }
    }
    total.attribute_names = job.attribute_names.in_order();
    total.add_files(&job.input.files, outcomes, &same)?;
    total.check_bad_shares(job.input.max_bad_share)?;
    let spec = job.input.specs.get(&Table::Transactions);
    if total.currencies.len() > 1 && spec.is_some_and(|spec| !spec.currency.converts()) {
        let shown = |(name, place): (&String, &String)| format!("{name} ({place})");
        return Err(RawError::Currencies { currencies: total.currencies.iter().map(shown).collect() });
    }
    Ok(total)
}

impl ReadOutcome {
    /// Adds the outcomes of all `files`, which are by index. `same` names the file that is read instead of a
    /// file of the same content.
    fn add_files(
        &mut self,
        files: &[RawFile],
        mut outcomes: BTreeMap<usize, Result<FileOutcome, RawError>>,
        same: &BTreeMap<usize, String>,
    ) -> Result<(), RawError> {
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
            if let Some(outcome) = outcomes.remove(&at) {
                let outcome = outcome?;
                if let Some(read) = &outcome.read {
                    source.sha256.clone_from(&read.sha256);
                    (source.lines, source.physical_lines) = (read.lines, read.physical_lines);
                }
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
        Ok(())
    }

    /// Sorts the causes of bad lines, the most frequent first, and checks the share of bad lines of each
    /// table.
    fn check_bad_shares(&mut self, max_bad_share: f64) -> Result<(), RawError> {
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
        if let Some(read) = &outcome.read {
            counts.lines += read.lines;
            counts.physical_lines += read.physical_lines;
            self.warnings.extend(read.warnings.iter().cloned());
        }
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
        for (span, events) in
            outcome.spans.into_iter().chain([outcome.span]).filter(|(_, span)| span.events > 0)
        {
            self.spans.entry(span).or_default().add(events);
        }
        self.has_created_at |= outcome.has_created_at;
        self.extras.add(outcome.extras);
    }
}

/// Outcome of one reading thread.
#[derive(Default)]
struct ThreadOutcome {
    /// Outcomes by index of the file.
    outcomes: Vec<(usize, Result<FileOutcome, RawError>)>,
    spills: Vec<(Table, SpillFile)>,
    guests: GuestOrders,
}

impl ReadJob {
    /// Reads files from the queue until the queue is empty or a file fails.
    fn work(&self, thread: usize) -> Result<ThreadOutcome, RawError> {
        let mut spills: BTreeMap<Table, SpillWriter> = BTreeMap::new();
        let mut done = ThreadOutcome::default();
        while let Some(at) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let file = &self.input.files[*at];
            let Some(spec) = self.input.specs.get(&file.table) else { continue };
            let spill = match spills.entry(file.table) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let names = Arc::clone(&self.attribute_names);
                    let (partitions, scratch) = (self.input.partitions, &self.input.scratch);
                    entry.insert(SpillWriter::new(spec, partitions, scratch, thread, names)?)
                }
            };
            let outcome = self.read(file, spec, *at, spill, &mut done.guests);
            let failed = outcome.is_err();
            done.outcomes.push((*at, outcome));
            if failed {
                break;
            }
        }
        done.guests.flush();
        for (table, spill) in spills {
            done.spills.push((table, spill.finish()?));
        }
        Ok(done)
    }

    /// Reads the file of index `at`.
    fn read(
        &self,
        file: &RawFile,
        spec: &TableSpec,
        at: usize,
        spill: &mut SpillWriter,
        guests: &mut GuestOrders,
    ) -> Result<FileOutcome, RawError> {
        let mut outcome = FileOutcome::default();
        // Later files and later lines have a greater place.
        let place = i64::try_from(at).unwrap_or(i64::MAX >> 40) << 40;
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        let texts = spec.columns.len() - spec.texts().len();
        let mut last_currency = String::new();
        let forgotten = |id: Option<&str>| id.is_some_and(|id| self.input.forgotten.contains(id));
        let read = read_file(
            file,
            spec,
            Arc::clone(&self.input.progress),
            &self.input.scratch,
            &mut |line, content| {
                let spec = line.spec;
                let (fields, mut extras) = match content {
                    RawLine::Record { fields, extras } => (fields, extras),
                    RawLine::Bad { error, lines } => return outcome.bad(line, error, lines),
                };
                match spec.table {
                    Table::Transactions => match spec.check_transaction(fields) {
                        Err(error) => outcome.bad(line, *error, 1),
                        Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                        Ok(passed) => {
                            outcome.event(passed.ordered_at);
                            // To compare empty texts costs more than all other checks on some processors.
                            if !passed.currency.is_empty() && passed.currency != last_currency {
                                last_currency = passed.currency.clone().into_owned();
                                outcome.note_currency(&last_currency, line);
                            }
                            let texts = &fields.texts[texts..];
                            if let Some(id) = passed.customer_id.as_deref() {
                                return spill.transaction(id, &passed, texts, number);
                            }
                            let order =
                                order_hash(&passed.order_id, spec.order_scope.iter().map(|at| texts[*at]));
                            guests.add(order, &passed, spec);
                            outcome.guest(fields)
                        }
                    },
                    Table::Customers => match spec.check_customer(fields, &mut extras) {
                        Err(error) => outcome.bad(line, *error, 1),
                        Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                        Ok(passed) => {
                            outcome.has_created_at |= passed.created_at.is_some();
                            outcome.extras.note(&extras);
                            let place = place + i64::try_from(line.number).unwrap_or(0);
                            match passed.customer_id.as_deref() {
                                Some(id) => spill.customer(id, &passed, &extras, place),
                                None => outcome.guest(fields),
                            }
                        }
                    },
                    Table::Interactions => match spec.check_interaction(fields) {
                        Err(error) => outcome.bad(line, *error, 1),
                        Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                        Ok(passed) => {
                            outcome.event(passed.at);
                            match passed.customer_id.as_deref() {
                                Some(id) => spill.interaction(id, &passed, &fields.texts[texts..], number),
                                None => outcome.guest(fields),
                            }
                        }
                    },
                }
            },
        )?;
        outcome.read = Some(read);
        Ok(outcome)
    }
}

impl FileOutcome {
    /// Counts `lines` bad lines, which begin at `line`.
    #[expect(clippy::unnecessary_wraps, reason = "the last expression of a sink")]
    fn bad(&mut self, line: LinePlace<'_>, error: LineError, lines: u64) -> Result<(), RawError> {
        let cause = self.bad.entry(error.cause).or_default();
        cause.lines += lines;
        if cause.examples.len() < EXAMPLES {
            cause.examples.push(format!("{}, line {}: {}", line.file, line.line, error.found));
        }
        Ok(())
    }

    /// Notes a currency, with the place of its first line.
    fn note_currency(&mut self, currency: &str, line: LinePlace<'_>) {
        if !currency.is_empty() && !self.currencies.contains_key(currency) {
            self.currencies.insert(currency.to_owned(), format!("{}, line {}", line.file, line.line));
        }
    }

    /// Counts a line of an erased customer. No part of the line is kept, not even its time.
    #[expect(clippy::unnecessary_wraps, reason = "the last expression of a sink")]
    fn forget(&mut self) -> Result<(), RawError> {
        self.forgotten += 1;
        Ok(())
    }

    /// Counts an event.
    fn event(&mut self, micros: i64) {
        self.newest = self.newest.max(Some(micros));
        let span = micros.div_euclid(SPAN);
        let event = EventSpan { events: 1, first: micros, last: micros };
        // Files are usually sorted by time.
        if self.span.0 == span {
            self.span.1.add(event);
        } else {
            let (before, events) = std::mem::replace(&mut self.span, (span, event));
            self.spans.entry(before).or_default().add(events);
        }
    }

    /// Counts a guest line.
    #[expect(clippy::unnecessary_wraps, reason = "the last expression of a sink")]
    fn guest(&mut self, fields: LineFields<'_>) -> Result<(), RawError> {
        self.no_customer += 1;
        let mut hash = DefaultHasher::new();
        fields.texts.hash(&mut hash);
        self.guest_lines.push(hash.finish());
        Ok(())
    }
}
