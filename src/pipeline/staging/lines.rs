//! Reads every raw file once, on several threads, and spills what passed; the rest is counted with its reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{Spill, staging};
use crate::{
    pipeline::raw::{
        Extra, Kind, Line, RawError, Table, TableSpec,
        files::{RawFile, same_content},
        read::read_file,
    },
    snapshot::{Forgotten, Source, TableCounts},
};

/// How many bad lines of a table are shown.
const EXAMPLES: usize = 5;

/// What reading all files gave.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The spilled files by table and partition.
    pub(crate) spills: BTreeMap<Table, Vec<Vec<PathBuf>>>,
    /// What became of the lines so far.
    pub(crate) counts: BTreeMap<String, TableCounts>,
    pub(crate) sources: Vec<Source>,
    /// The time of the newest event in microseconds.
    pub(crate) newest: Option<i64>,
    /// Whether any customer has a `created_at`.
    pub(crate) has_created_at: bool,
    /// The columns of `customers` beside the named ones, in the order of their first file, with the kinds of values seen.
    pub(crate) extras: Vec<(String, BTreeSet<Kind>)>,
}

/// What one file gave.
#[derive(Debug, Default)]
struct FileOutcome {
    sha256: String,
    lines: u64,
    bad: u64,
    no_customer: u64,
    forgotten: u64,
    examples: Vec<String>,
    newest: Option<i64>,
    has_created_at: bool,
    extras: Vec<(String, BTreeSet<Kind>)>,
    /// A hash of each line without a customer, to find the equal ones; the others are compared where they are sorted.
    guests: Vec<u64>,
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
/// Of the first file by name that cannot be read, or of too many bad lines.
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
    let job =
        Arc::new(Job { files, queue, next, specs, partitions, scratch: scratch.to_path_buf(), progress, forgotten });
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let job = Arc::clone(&job);
            tokio::task::spawn_blocking(move || job.work(thread))
        })
        .collect();
    let mut outcomes: BTreeMap<usize, Result<FileOutcome, RawError>> = BTreeMap::new();
    let mut lines = Lines::default();
    for worker in workers {
        let (read, spills) = worker.await.map_err(|error| staging(scratch, error))??;
        outcomes.extend(read);
        for (table, paths) in spills {
            let all = lines.spills.entry(table).or_insert_with(|| vec![Vec::new(); partitions]);
            all.iter_mut().zip(paths).for_each(|(all, path)| all.extend(path));
        }
    }
    let mut guests: BTreeMap<Table, Vec<u64>> = BTreeMap::new();
    for (at, file) in job.files.iter().enumerate() {
        let source = |lines, sha256, same_as| Source {
            table: file.table.name().to_owned(),
            path: file.shown.clone(),
            bytes: file.bytes,
            sha256,
            lines,
            same_as,
        };
        if let Some(outcome) = outcomes.remove(&at) {
            let outcome = outcome?;
            lines.sources.push(source(outcome.lines, outcome.sha256.clone(), None));
            guests.entry(file.table).or_default().extend(&outcome.guests);
            lines.add(file, outcome);
        } else {
            let first = same.get(&at).cloned();
            let twin = lines.sources.iter().find(|source| Some(&source.path) == first.as_ref());
            let sha256 = twin.map(|twin| twin.sha256.clone()).unwrap_or_default();
            lines.sources.push(source(0, sha256, first));
        }
    }
    for (table, mut hashes) in guests {
        hashes.sort_unstable();
        let equal = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
        lines.counts.entry(table.name().to_owned()).or_default().duplicates += equal as u64;
    }
    for table in Table::ALL {
        let Some(counts) = lines.counts.get(table.name()) else { continue };
        let bad = counts.fates.get("bad").copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        if bad as f64 > max_bad_share * counts.lines as f64 {
            return Err(RawError::TooManyBad {
                table: table.name(),
                bad,
                lines: counts.lines,
                limit: max_bad_share,
                examples: counts.bad_examples.clone(),
            });
        }
    }
    Ok(lines)
}

impl Lines {
    fn add(&mut self, file: &RawFile, outcome: FileOutcome) {
        let counts = self.counts.entry(file.table.name().to_owned()).or_default();
        counts.lines += outcome.lines;
        let fates = [("bad", outcome.bad), ("no_customer", outcome.no_customer), ("forgotten", outcome.forgotten)];
        for (fate, lines) in fates {
            *counts.fates.entry(fate.to_owned()).or_default() += lines;
        }
        let room = EXAMPLES.saturating_sub(counts.bad_examples.len());
        counts.bad_examples.extend(outcome.examples.into_iter().take(room));
        self.newest = self.newest.max(outcome.newest);
        self.has_created_at |= outcome.has_created_at;
        for (name, kinds) in outcome.extras {
            match self.extras.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.extend(kinds),
                None => self.extras.push((name, kinds)),
            }
        }
    }
}

type Spilled = Vec<(Table, Vec<Option<PathBuf>>)>;

impl Job {
    #[expect(clippy::type_complexity, reason = "what one thread hands back, taken apart at once")]
    fn work(&self, thread: usize) -> Result<(Vec<(usize, Result<FileOutcome, RawError>)>, Spilled), RawError> {
        let mut spills: BTreeMap<Table, Spill> = BTreeMap::new();
        let mut outcomes = Vec::new();
        while let Some(at) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let file = &self.files[*at];
            let Some(spec) = self.specs.get(&file.table) else { continue };
            let spill = match spills.entry(file.table) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Spill::new(spec, self.partitions, &self.scratch, thread)?)
                }
            };
            let outcome = self.read(file, spec, *at, spill);
            let failed = outcome.is_err();
            outcomes.push((*at, outcome));
            if failed {
                break;
            }
        }
        let spilled =
            spills.into_iter().map(|(table, spill)| Ok((table, spill.finish()?))).collect::<Result<_, RawError>>()?;
        Ok((outcomes, spilled))
    }

    fn read(&self, file: &RawFile, spec: &TableSpec, at: usize, spill: &mut Spill) -> Result<FileOutcome, RawError> {
        let mut outcome = FileOutcome::default();
        // Later files and later lines have the greater place.
        let place = i64::try_from(at).unwrap_or(i64::MAX >> 40) << 40;
        let texts = spec.columns.len() - spec.texts().len();
        let forgotten = |id: Option<&str>| id.is_some_and(|id| self.forgotten.contains(id));
        let read = read_file(file, spec, Arc::clone(&self.progress), &self.scratch, &mut |line, content| {
            let (fields, extras) = match content {
                Line::Record { fields, extras } => (fields, extras),
                Line::Bad(why) => return outcome.bad(file, line, &why),
            };
            let passed = match spec.table {
                Table::Transactions => match spec.transaction(fields) {
                    Err(why) => return outcome.bad(file, line, &why),
                    Ok(passed) if forgotten(passed.customer_id) => return outcome.forget(),
                    Ok(passed) => {
                        outcome.newest = outcome.newest.max(Some(passed.ordered_at));
                        passed.customer_id.map(|id| spill.transaction(id, &passed, &fields[texts..]))
                    }
                },
                Table::Customers => match spec.customer(fields, extras) {
                    Err(why) => return outcome.bad(file, line, &why),
                    Ok(passed) if forgotten(passed.customer_id) => return outcome.forget(),
                    Ok(passed) => {
                        outcome.has_created_at |= passed.created_at.is_some();
                        outcome.note_extras(spec, extras);
                        let place = place + i64::try_from(line).unwrap_or(0);
                        passed.customer_id.map(|id| spill.customer(id, &passed, extras, place))
                    }
                },
                Table::Interactions => match spec.interaction(fields) {
                    Err(why) => return outcome.bad(file, line, &why),
                    Ok(passed) if forgotten(passed.customer_id) => return outcome.forget(),
                    Ok(passed) => {
                        outcome.newest = outcome.newest.max(Some(passed.at));
                        passed.customer_id.map(|id| spill.interaction(id, &passed))
                    }
                },
            };
            passed.unwrap_or_else(|| {
                outcome.guest(fields);
                Ok(())
            })
        })?;
        outcome.sha256 = read.sha256;
        outcome.lines = read.lines;
        Ok(outcome)
    }
}

impl FileOutcome {
    #[expect(clippy::unnecessary_wraps, reason = "the last word of a sink")]
    fn bad(&mut self, file: &RawFile, line: u64, why: &str) -> Result<(), RawError> {
        self.bad += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{}, line {line}: {why}", file.shown));
        }
        Ok(())
    }

    /// Nothing of the line is kept, not even its time.
    #[expect(clippy::unnecessary_wraps, reason = "the last word of a sink")]
    fn forget(&mut self) -> Result<(), RawError> {
        self.forgotten += 1;
        Ok(())
    }

    fn guest(&mut self, fields: &[&str]) {
        self.no_customer += 1;
        let mut hash = DefaultHasher::new();
        fields.hash(&mut hash);
        self.guests.push(hash.finish());
    }

    fn note_extras(&mut self, spec: &TableSpec, extras: &[Extra<'_>]) {
        for extra in extras {
            let text = extra.text.trim();
            let at = self.extras.iter().position(|(name, _)| name == extra.name).unwrap_or_else(|| {
                self.extras.push((extra.name.to_owned(), BTreeSet::new()));
                self.extras.len() - 1
            });
            if !text.is_empty() {
                let fits = extra.kind == Kind::Number || spec.fits(extra.kind, text);
                self.extras[at].1.insert(if fits { extra.kind } else { Kind::Text });
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
        read(vec![file.clone()], specs, (1, 1), max_bad_share, scratch.path(), progress, Arc::default()).await?;
    Ok(lines.counts.get(file.table.name()).cloned().unwrap_or_default())
}
