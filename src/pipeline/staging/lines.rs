//! Reads every raw file once, on several threads, and spills what passed; the rest is counted with its
//! reason.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    guests::{GuestOrders, Guests, order_hash},
    spill::{Spill, SpillFile},
    staging,
};
use crate::{
    pipeline::raw::{
        Kind, RawError, Table, TableSpec,
        check::{Extra, Fault, Fields, Line},
        files::{RawFile, same_content},
        read::{FileRead, read_file},
    },
    snapshot::{BadCause, Forgotten, RawSource, TableCounts},
};

/// How many bad lines of one cause are shown.
const EXAMPLES: usize = 5;
/// Microseconds of the spans of time in which events are counted: 30 days.
const SPAN: i64 = 30 * 86_400_000_000;

/// What reading all files gave.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The spilled lines by table.
    pub(crate) spills: BTreeMap<Table, Vec<SpillFile>>,
    /// What became of the lines so far.
    pub(crate) counts: BTreeMap<String, TableCounts>,
    pub(crate) sources: Vec<RawSource>,
    /// The time of the newest event in microseconds.
    pub(crate) newest: Option<i64>,
    /// The events of each span of 30 days since 1970.
    pub(crate) spans: BTreeMap<i64, Span>,
    /// Whether any customer has a `created_at`.
    pub(crate) has_created_at: bool,
    /// The columns of `customers` beside the named ones, in the order of their first file, with the kinds
    /// of values seen.
    pub(crate) extras: Vec<(String, BTreeSet<Kind>)>,
    /// The lines without a customer of each order, by a hash of its id.
    pub(crate) guests: HashMap<u64, Guests>,
}

/// The events of a span of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) events: u64,
    /// The times of the earliest and of the latest, in microseconds.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Default for Span {
    fn default() -> Self {
        Self { events: 0, first: i64::MAX, last: i64::MIN }
    }
}

impl Span {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
    }
}

/// What one file gave.
#[derive(Debug, Default)]
struct FileOutcome {
    read: Option<FileRead>,
    no_customer: u64,
    forgotten: u64,
    bad: BTreeMap<String, BadCause>,
    newest: Option<i64>,
    spans: BTreeMap<i64, Span>,
    /// The span of the last event, and the events in it that are not yet counted.
    span: (i64, Span),
    has_created_at: bool,
    extras: Vec<(String, BTreeSet<Kind>)>,
    /// A hash of each line without a customer, to find the equal ones; the others are compared where they
    /// are sorted.
    guest_lines: Vec<u64>,
}

/// What every reading thread shares.
struct Job {
    files: Vec<RawFile>,
    /// The files to read, the largest first.
    queue: Vec<usize>,
    next: AtomicUsize,
    specs: BTreeMap<Table, TableSpec>,
    partitions: usize,
    scratch: PathBuf,
    progress: Arc<AtomicU64>,
    forgotten: Arc<Forgotten>,
}

/// Reads `files` on `threads` threads. Lines of `forgotten` customers are only counted.
///
/// # Errors
/// Names a file that cannot be read, or the causes of too many bad lines.
pub(crate) async fn read(
    files: Vec<RawFile>,
    specs: BTreeMap<Table, TableSpec>,
    (partitions, threads): (usize, usize),
    max_bad_share: f64,
    scratch: &Path,
    progress: Arc<AtomicU64>,
    forgotten: Arc<Forgotten>,
) -> Result<Lines, RawError> {
    let same = same_content(&files).await?;
    let mut queue: Vec<usize> = (0..files.len()).filter(|at| !same.contains_key(at)).collect();
    queue.sort_by_key(|at| std::cmp::Reverse(files[*at].bytes));
    let next = AtomicUsize::new(0);
    let job = Arc::new(Job {
        files,
        queue,
        next,
        specs,
        partitions,
        scratch: scratch.to_path_buf(),
        progress,
        forgotten,
    });
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let job = Arc::clone(&job);
            tokio::task::spawn_blocking(move || job.work(thread))
        })
        .collect();
    let mut outcomes: BTreeMap<usize, Result<FileOutcome, RawError>> = BTreeMap::new();
    let mut lines = Lines::default();
    for worker in workers {
        let done = worker.await.map_err(|error| staging(scratch, error))??;
        outcomes.extend(done.outcomes);
        for (table, file) in done.spills {
            lines.spills.entry(table).or_default().push(file);
        }
        for (order, guests) in done.guests.orders {
            lines.guests.entry(order).or_default().add(guests);
        }
    }
    let mut guests: BTreeMap<Table, Vec<u64>> = BTreeMap::new();
    for (at, file) in job.files.iter().enumerate() {
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
            lines.add(file, outcome);
        } else {
            source.same_as = same.get(&at).cloned();
        }
        lines.sources.push(source);
    }
    let hashes: BTreeMap<String, String> =
        lines.sources.iter().map(|source| (source.path.clone(), source.sha256.clone())).collect();
    for source in &mut lines.sources {
        if let Some(hash) = source.same_as.as_ref().and_then(|twin| hashes.get(twin)) {
            source.sha256.clone_from(hash);
        }
    }
    for (table, mut hashes) in guests {
        hashes.sort_unstable();
        let equal = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
        lines.counts.entry(table.name().to_owned()).or_default().duplicates += equal as u64;
    }
    for table in Table::ALL {
        let Some(counts) = lines.counts.get_mut(table.name()) else { continue };
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
    Ok(lines)
}

impl Lines {
    fn add(&mut self, file: &RawFile, outcome: FileOutcome) {
        let counts = self.counts.entry(file.table.name().to_owned()).or_default();
        if let Some(read) = &outcome.read {
            counts.lines += read.lines;
            counts.physical_lines += read.physical_lines;
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
            let room = EXAMPLES.saturating_sub(known.examples.len());
            known.examples.extend(cause.examples.into_iter().take(room));
        }
        self.newest = self.newest.max(outcome.newest);
        for (span, events) in
            outcome.spans.into_iter().chain([outcome.span]).filter(|(_, span)| span.events > 0)
        {
            self.spans.entry(span).or_default().add(events);
        }
        self.has_created_at |= outcome.has_created_at;
        for (name, kinds) in outcome.extras {
            match self.extras.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.extend(kinds),
                None => self.extras.push((name, kinds)),
            }
        }
    }
}

/// The result of one reading thread.
#[derive(Default)]
struct Done {
    outcomes: Vec<(usize, Result<FileOutcome, RawError>)>,
    spills: Vec<(Table, SpillFile)>,
    guests: GuestOrders,
}

impl Job {
    fn work(&self, thread: usize) -> Result<Done, RawError> {
        let mut spills: BTreeMap<Table, Spill> = BTreeMap::new();
        let mut done = Done::default();
        while let Some(at) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let file = &self.files[*at];
            let Some(spec) = self.specs.get(&file.table) else { continue };
            let spill = match spills.entry(file.table) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Spill::new(spec, self.partitions, &self.scratch, thread)?)
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

    fn read(
        &self,
        file: &RawFile,
        spec: &TableSpec,
        at: usize,
        spill: &mut Spill,
        guests: &mut GuestOrders,
    ) -> Result<FileOutcome, RawError> {
        let mut outcome = FileOutcome::default();
        // Later files and later lines have the greater place.
        let place = i64::try_from(at).unwrap_or(i64::MAX >> 40) << 40;
        let number = i32::try_from(at).unwrap_or(i32::MAX);
        let texts = spec.columns.len() - spec.texts().len();
        let forgotten = |id: Option<&str>| id.is_some_and(|id| self.forgotten.contains(id));
        let read = read_file(file, spec, Arc::clone(&self.progress), &self.scratch, &mut |line, content| {
            let (fields, mut extras) = match content {
                Line::Record { fields, extras } => (fields, extras),
                Line::Bad { fault, lines } => return outcome.bad(file, line, fault, lines),
            };
            match spec.table {
                Table::Transactions => match spec.transaction(fields) {
                    Err(fault) => outcome.bad(file, line, *fault, 1),
                    Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                    Ok(passed) => {
                        outcome.event(passed.ordered_at);
                        let texts = &fields.texts[texts..];
                        if let Some(id) = passed.customer_id.as_deref() {
                            return spill.transaction(id, &passed, texts, number);
                        }
                        let order =
                            order_hash(&passed.order_id, spec.order_scope.iter().map(|at| texts[*at]));
                        guests.add(order, &passed);
                        outcome.guest(fields)
                    }
                },
                Table::Customers => match spec.customer(fields, &mut extras) {
                    Err(fault) => outcome.bad(file, line, *fault, 1),
                    Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                    Ok(passed) => {
                        outcome.has_created_at |= passed.created_at.is_some();
                        outcome.note_extras(&extras);
                        let place = place + i64::try_from(line).unwrap_or(0);
                        match passed.customer_id.as_deref() {
                            Some(id) => spill.customer(id, &passed, &extras, place),
                            None => outcome.guest(fields),
                        }
                    }
                },
                Table::Interactions => match spec.interaction(fields) {
                    Err(fault) => outcome.bad(file, line, *fault, 1),
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
        })?;
        outcome.read = Some(read);
        Ok(outcome)
    }
}

impl FileOutcome {
    #[expect(clippy::unnecessary_wraps, reason = "the last word of a sink")]
    fn bad(&mut self, file: &RawFile, line: u64, fault: Fault, lines: u64) -> Result<(), RawError> {
        let cause = self.bad.entry(fault.cause).or_default();
        cause.lines += lines;
        if cause.examples.len() < EXAMPLES {
            cause.examples.push(format!("{}, line {line}: {}", file.shown, fault.found));
        }
        Ok(())
    }

    /// Nothing of the line is kept, not even its time.
    #[expect(clippy::unnecessary_wraps, reason = "the last word of a sink")]
    fn forget(&mut self) -> Result<(), RawError> {
        self.forgotten += 1;
        Ok(())
    }

    fn event(&mut self, micros: i64) {
        self.newest = self.newest.max(Some(micros));
        let span = micros.div_euclid(SPAN);
        let event = Span { events: 1, first: micros, last: micros };
        // Files are mostly in the order of time.
        if self.span.0 == span {
            self.span.1.add(event);
        } else {
            let (before, events) = std::mem::replace(&mut self.span, (span, event));
            self.spans.entry(before).or_default().add(events);
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the last word of a sink")]
    fn guest(&mut self, fields: Fields<'_>) -> Result<(), RawError> {
        self.no_customer += 1;
        let mut hash = DefaultHasher::new();
        fields.texts.hash(&mut hash);
        self.guest_lines.push(hash.finish());
        Ok(())
    }

    fn note_extras(&mut self, extras: &[Extra<'_>]) {
        for (place, extra) in extras.iter().enumerate() {
            // Lines of a file mostly have the same columns in the same order.
            let at = match self.extras.get(place) {
                Some((name, _)) if name == extra.name => place,
                _ => self.extras.iter().position(|(name, _)| name == extra.name).unwrap_or_else(|| {
                    self.extras.push((extra.name.to_owned(), BTreeSet::new()));
                    self.extras.len() - 1
                }),
            };
            let text = extra.text.trim();
            if !text.is_empty() {
                let kind = if TableSpec::fits(extra.kind, text) { extra.kind } else { Kind::Text };
                self.extras[at].1.insert(kind);
            }
        }
    }
}

/// Reads `file` as a build would, and keeps nothing: its lines and bad lines with the first few of them.
///
/// # Errors
/// As a build's, the share of bad lines included.
pub(crate) async fn check(
    file: &RawFile,
    spec: &TableSpec,
    max_bad_share: f64,
    progress: Arc<AtomicU64>,
) -> Result<TableCounts, RawError> {
    let scratch = super::Scratch::new(&std::env::temp_dir())?;
    let specs = BTreeMap::from([(file.table, spec.clone())]);
    let lines =
        read(vec![file.clone()], specs, (1, 1), max_bad_share, scratch.path(), progress, Arc::default())
            .await?;
    Ok(lines.counts.get(file.table.name()).cloned().unwrap_or_default())
}
