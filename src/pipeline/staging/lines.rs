//! Reading of all raw files on several threads: valid lines are sorted into runs, bad lines and guest lines
//! are counted. Files whose runs were kept by an earlier build are not read.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arrow::array::RecordBatch;

use super::{
    attributes::AttributeNames,
    file_outcome::FileOutcome,
    guests::order_hash,
    kept::KeptStaging,
    line_buffer::{LineBuffer, RunLimits},
    read_outcome::ReadOutcome,
    run_queue::RunQueue,
    sorted_run::{self, RunOrigin, SortedRun},
    staged_lines::StagedLines,
    staging,
};
use crate::{
    pipeline::parallel::parallel_map,
    pipeline::raw::{
        RawError, Table, TableSpec,
        check::RawLine,
        files::{RawFile, same_content},
        read::{LinePlace, read_file},
    },
    snapshot::Forgotten,
};

/// Input of [`read`].
pub(crate) struct ReadInput {
    pub(crate) files: Vec<RawFile>,
    pub(crate) specs: BTreeMap<Table, TableSpec>,
    pub(crate) threads: usize,
    pub(crate) max_bad_share: f64,
    pub(crate) limits: RunLimits,
    /// Folder for the runs and other temporary files.
    pub(crate) scratch: PathBuf,
    /// Number of bytes read.
    pub(crate) progress: Arc<AtomicU64>,
    /// Erased customers, whose lines are counted and not kept.
    pub(crate) forgotten: Arc<Forgotten>,
    /// Use of the lines.
    pub(crate) purpose: ReadPurpose,
}

/// Use of the lines that [`read`] reads.
#[derive(Debug, Clone)]
pub(crate) enum ReadPurpose {
    /// The lines are checked and counted.
    Check,
    /// The lines are staged for a number of partitions, which is a power of two. `kept` has the runs of
    /// earlier builds and takes those of this build.
    Build { partitions: usize, kept: Option<Arc<KeptStaging>> },
}

/// State that the reading threads share.
struct ReadJob {
    input: ReadInput,
    /// Indexes of the files to read, the largest first.
    queue: Vec<usize>,
    next: AtomicUsize,
    runs: RunQueue<UnsortedRun>,
}

/// Lines of a run that is to be sorted and written.
struct UnsortedRun {
    path: PathBuf,
    table: Table,
    lines: RecordBatch,
}

/// Reads all files, and sorts the valid lines into runs.
///
/// # Errors
/// Fails if a file cannot be read, or if the share of bad lines is too high.
pub(crate) async fn read(mut input: ReadInput) -> Result<ReadOutcome, RawError> {
    if let ReadPurpose::Build { kept: Some(kept), .. } = &input.purpose {
        kept.note_contents(&mut input.files).await?;
    }
    let same = same_content(&input.files).await?;
    let files = (0..input.files.len()).filter(|at| !same.contains_key(at)).collect();
    let job = Arc::new(ReadJob::new(input, files));
    let staged = job.stage_all().await?;
    let mut total = ReadOutcome::default();
    if let ReadPurpose::Build { partitions, kept } = &job.input.purpose {
        if let Some(kept) = kept {
            kept.store(&job.input.files, &job.input.specs, &staged).await;
        }
        total.open_runs(&job.input.files, &staged, *partitions, job.input.threads).await?;
    }
    total.add_files(&job.input.files, staged, &same);
    total.check_bad_shares(job.input.max_bad_share)?;
    total.check_currencies(job.input.specs.get(&Table::Transactions))?;
    Ok(total)
}

/// Reads the first file, writes its lines to `kept`, and returns the hash of its content. The inner result
/// tells whether the file can be read.
///
/// # Errors
/// Fails if the lines cannot be written.
#[cfg(feature = "cluster")]
pub(crate) async fn keep(
    input: ReadInput,
    kept: &KeptStaging,
) -> Result<Result<String, RawError>, Box<dyn std::error::Error + Send + Sync>> {
    let job = Arc::new(ReadJob::new(input, vec![0]));
    let staged = match job.stage_all().await {
        Ok(staged) => staged,
        Err(error) => return Ok(Err(error)),
    };
    let lines = staged.get(&0).ok_or("there is no file")?;
    kept.write_all(&job.input.files, &job.input.specs, &staged).await?;
    Ok(Ok(lines.sha256.clone()))
}

/// Results of one reading thread, by index of the file.
type ThreadResults = Vec<(usize, Result<StagedLines, RawError>)>;

impl ReadJob {
    /// Creates a job that reads the files of `input` with the indexes `queue`.
    fn new(input: ReadInput, mut queue: Vec<usize>) -> Self {
        queue.sort_by_key(|at| std::cmp::Reverse(input.files[*at].bytes));
        let runs = RunQueue::new(input.threads);
        Self { input, queue, next: AtomicUsize::new(0), runs }
    }

    /// Reads the files of the queue on all threads. The error of the first file is reported, whichever thread
    /// read the file.
    async fn stage_all(self: &Arc<Self>) -> Result<BTreeMap<usize, StagedLines>, RawError> {
        let read = self.on_threads(Self::work).await?;
        let read: BTreeMap<usize, _> = read.into_iter().flatten().collect();
        read.into_iter().map(|(at, lines)| Ok((at, lines?))).collect()
    }

    /// Runs `work` on all threads and returns the results.
    async fn on_threads<T: Send + 'static>(
        self: &Arc<Self>,
        work: fn(&Self) -> Result<T, RawError>,
    ) -> Result<Vec<T>, RawError> {
        let threads = (0..self.input.threads).map(|_| {
            let job = Arc::clone(self);
            tokio::task::spawn_blocking(move || work(&job))
        });
        let mut results = Vec::new();
        for thread in threads.collect::<Vec<_>>() {
            results.push(thread.await.map_err(|error| staging(&self.input.scratch, error))??);
        }
        Ok(results)
    }

    /// Reads files from the queue until the queue is empty or a file fails, then sorts runs of other threads.
    fn work(&self) -> Result<ThreadResults, RawError> {
        let reader = self.runs.reader();
        let mut done = Vec::new();
        while let Some(at) = self.queue.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let file = &self.input.files[*at];
            let Some(spec) = self.input.specs.get(&file.table) else { continue };
            let staged = self.stage(file, spec, *at);
            let failed = staged.is_err();
            done.push((*at, staged));
            if failed {
                break;
            }
        }
        drop(reader);
        while let Some(run) = self.runs.take() {
            self.write(&run)?;
        }
        Ok(done)
    }

    fn write(&self, run: &UnsortedRun) -> Result<(), RawError> {
        match self.input.specs.get(&run.table) {
            Some(spec) => sorted_run::write(&run.path, spec, &run.lines),
            None => Ok(()),
        }
    }

    /// Takes the runs of the file of index `at` from an earlier build, or reads the file.
    fn stage(&self, file: &RawFile, spec: &TableSpec, at: usize) -> Result<StagedLines, RawError> {
        if let ReadPurpose::Build { kept: Some(kept), .. } = &self.input.purpose
            && let Some(lines) = kept.find(file, spec)
        {
            self.input.progress.fetch_add(file.bytes, Ordering::Relaxed);
            return Ok(lines);
        }
        let mut reading =
            FileReading { job: self, spec, at, buffer: LineBuffer::new(spec), runs: Vec::new() };
        let mut outcome = FileOutcome::default();
        let read = read_file(
            file,
            spec,
            Arc::clone(&self.input.progress),
            &self.input.scratch,
            &mut |line, content| reading.line(&mut outcome, line, content),
        )?;
        let sha256 = read.sha256.clone();
        outcome.finish(read);
        let (attributes, runs) = reading.finish()?;
        Ok(StagedLines { sha256, outcome, attributes, runs, is_kept: false })
    }
}

/// Reading of one file.
struct FileReading<'a> {
    job: &'a ReadJob,
    spec: &'a TableSpec,
    /// Index of the file.
    at: usize,
    buffer: LineBuffer,
    runs: Vec<PathBuf>,
}

impl FileReading<'_> {
    /// Checks a line, and keeps or counts it.
    fn line(
        &mut self,
        outcome: &mut FileOutcome,
        line: LinePlace<'_>,
        content: RawLine<'_>,
    ) -> Result<(), RawError> {
        let spec = line.spec;
        let (fields, mut extras) = match content {
            RawLine::Record { fields, extras } => (fields, extras),
            RawLine::Bad { error, lines } => {
                outcome.bad(line, error, lines);
                return Ok(());
            }
        };
        let forgotten = |id: Option<&str>| id.is_some_and(|id| self.job.input.forgotten.contains(id));
        let texts = spec.columns.len() - spec.texts().len();
        match spec.table {
            Table::Transactions => match spec.check_transaction(fields) {
                Err(error) => outcome.bad(line, *error, 1),
                Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                Ok(passed) => {
                    outcome.event(passed.ordered_at);
                    // To compare empty texts costs more than all other checks on some processors.
                    if !passed.currency.is_empty() {
                        outcome.note_currency(&passed.currency, line);
                    }
                    let texts = &fields.texts[texts..];
                    if let Some(id) = passed.customer_id.as_deref() {
                        self.buffer.transaction(id, &passed, texts);
                        return self.added();
                    }
                    let scope = spec.order_scope.iter().map(|at| texts[*at]);
                    let order = order_hash(&passed.order_id, scope);
                    outcome.guest_orders.add(order, &passed, spec);
                    outcome.guest(fields);
                }
            },
            Table::Customers => match spec.check_customer(fields, &mut extras) {
                Err(error) => outcome.bad(line, *error, 1),
                Ok(passed) if forgotten(passed.customer_id.as_deref()) => outcome.forget(),
                Ok(passed) => {
                    outcome.has_created_at |= passed.created_at.is_some();
                    outcome.extras.note(&extras);
                    let number = i64::try_from(line.number).unwrap_or(0);
                    match passed.customer_id.as_deref() {
                        Some(id) => {
                            self.buffer.customer(id, &passed, &extras, number);
                            return self.added();
                        }
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
                        Some(id) => {
                            self.buffer.interaction(id, &passed, &fields.texts[texts..]);
                            return self.added();
                        }
                        None => outcome.guest(fields),
                    }
                }
            },
        }
        Ok(())
    }

    /// Begins a new run if the buffer is full.
    fn added(&mut self) -> Result<(), RawError> {
        if self.buffer.is_full(self.job.input.limits) { self.end_run() } else { Ok(()) }
    }

    /// Gives the buffered lines to a thread without work, or sorts and writes the run.
    fn end_run(&mut self) -> Result<(), RawError> {
        let lines = self.buffer.take().map_err(|error| staging(&self.job.input.scratch, error))?;
        if matches!(self.job.input.purpose, ReadPurpose::Check) {
            return Ok(());
        }
        let name = format!("run-{}-{:03}.parquet", self.at, self.runs.len());
        let path = self.job.input.scratch.join(name);
        self.runs.push(path.clone());
        match self.job.runs.offer(UnsortedRun { path, table: self.spec.table, lines }) {
            Some(run) => self.job.write(&run),
            None => Ok(()),
        }
    }

    /// Ends the last run. Returns the names of the attributes, and the files of the runs.
    fn finish(mut self) -> Result<(Vec<String>, Vec<PathBuf>), RawError> {
        if !self.buffer.is_empty() {
            self.end_run()?;
        }
        Ok((self.buffer.into_attributes(), self.runs))
    }
}

impl ReadOutcome {
    /// Opens the runs of all files on `threads` threads.
    async fn open_runs(
        &mut self,
        files: &[RawFile],
        staged: &BTreeMap<usize, StagedLines>,
        partitions: usize,
        threads: usize,
    ) -> Result<(), RawError> {
        let mut names = AttributeNames::default();
        let mut all: Vec<(Table, PathBuf, RunOrigin)> = Vec::new();
        for (at, lines) in staged {
            let numbers = names.add(&lines.attributes);
            let is_same = numbers.iter().copied().eq(0..numbers.len());
            let attributes = if is_same { None } else { Some(numbers.into()) };
            let origin = RunOrigin { file: *at, attributes };
            all.extend(lines.runs.iter().map(|path| (files[*at].table, path.clone(), origin.clone())));
        }
        self.attribute_names = names.into_names();
        let opened = tokio::task::spawn_blocking(move || {
            parallel_map(
                threads,
                all.len(),
                || (),
                |(), at| {
                    let (table, path, origin) = &all[at];
                    Ok::<_, RawError>((*table, SortedRun::open(path.clone(), partitions, origin.clone())?))
                },
            )
        });
        let opened = opened.await.map_err(|error| staging(&PathBuf::new(), error))?;
        for run in opened {
            let (table, run) = run?;
            self.runs.entry(table).or_default().push(run);
        }
        Ok(())
    }
}
