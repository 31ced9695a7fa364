//! The events of all partitions, divided into temporary files by key.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};

use super::orders::{self, Line, NONE, OrderRules, OrderSink};
use crate::{
    audience::EventKey,
    feature::PackedTexts,
    pipeline::{
        parallel::parallel_map,
        raw::RawError,
        staging::{StagedFile, staging},
    },
    snapshot::event_files::file_of_key,
};

/// Number of events that an index file is planned for. An event takes 16 bytes while the file is sorted.
const FILE_EVENTS: usize = 8 << 20;
/// Size of an event in a temporary file in bytes.
pub(super) const EVENT_BYTES: usize = 16;

/// The staged tables, the customers and the settings.
#[derive(Debug)]
pub(super) struct EventInput {
    pub(super) transactions: Vec<StagedFile>,
    pub(super) interactions: Vec<StagedFile>,
    /// Ids of all customers, sorted.
    pub(super) customers: Arc<PackedTexts>,
    pub(super) order_scope: Vec<String>,
    /// Maximum time from the first to the last line of an order in microseconds.
    pub(super) order_span: i64,
    pub(super) threads: usize,
    pub(super) scratch: PathBuf,
}

impl EventInput {
    /// Returns the number of index files, which depends on the data alone.
    fn files(&self) -> usize {
        let rows = |files: &[StagedFile]| files.iter().map(|file| file.rows).sum::<usize>();
        // A purchase line is an event of its product and of its category, and a share of one of its order.
        let most = rows(&self.transactions).saturating_mul(2) + rows(&self.interactions);
        most.div_ceil(FILE_EVENTS).max(1)
    }
}

/// An event in a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Number of the key.
    pub(super) key: u32,
    /// Number of the customer.
    pub(super) customer: u32,
    /// Time in microseconds since 1970.
    pub(super) at: i64,
}

impl Event {
    fn to_bytes(self) -> [u8; EVENT_BYTES] {
        let number = u128::from(self.key) << 96 | u128::from(self.customer) << 64;
        (number | u128::from(self.at.cast_unsigned())).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; EVENT_BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the number has three parts")]
        Self { key: (number >> 96) as u32, customer: (number >> 64) as u32, at: number as i64 }
    }
}

/// Numbers of the keys, in the order of first appearance.
#[derive(Debug, Default)]
struct Keys {
    numbers: HashMap<EventKey, u32>,
    texts: Vec<String>,
}

impl Keys {
    fn number(&mut self, key: &EventKey) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE);
        self.texts.push(key.to_string());
        self.numbers.insert(key.clone(), number);
        number
    }
}

/// The temporary files, and the keys by number.
#[derive(Debug)]
pub(super) struct SpilledEvents {
    pub(super) files: Vec<PathBuf>,
    pub(super) keys: Vec<String>,
}

/// Files that all threads write to.
struct Files {
    paths: Vec<PathBuf>,
    writers: Vec<Mutex<BufWriter<File>>>,
    keys: Mutex<Keys>,
}

/// Writes the events of all partitions to temporary files.
pub(super) fn spill(input: &EventInput) -> Result<SpilledEvents, RawError> {
    let paths: Vec<PathBuf> =
        (0..input.files()).map(|number| input.scratch.join(format!("events-{number}"))).collect();
    let create = |path: &PathBuf| {
        let file = File::create(path).map_err(|error| staging(path, error))?;
        Ok(Mutex::new(BufWriter::with_capacity(1 << 18, file)))
    };
    let writers = paths.iter().map(create).collect::<Result<Vec<_>, RawError>>()?;
    let files = Files { paths, writers, keys: Mutex::default() };
    let count = input.transactions.len().max(input.interactions.len());
    let read = |(): &mut (), at: usize| -> Result<(), RawError> {
        let mut partition = PartitionEvents::new(&input.customers);
        if let Some(transactions) = input.transactions.get(at) {
            let rules = OrderRules { scope: &input.order_scope, span: input.order_span };
            orders::read(transactions, rules, &mut partition)?;
        }
        if let Some(interactions) = input.interactions.get(at) {
            partition.read_interactions(interactions)?;
        }
        files.add(&partition)
    };
    parallel_map(input.threads, count, || (), read).into_iter().collect::<Result<Vec<()>, _>>()?;
    for (writer, path) in files.writers.iter().zip(&files.paths) {
        let flushed = writer.lock().unwrap_or_else(PoisonError::into_inner).flush();
        flushed.map_err(|error| staging(path, error))?;
    }
    let keys = files.keys.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(SpilledEvents { files: files.paths, keys: keys.texts })
}

impl Files {
    /// Appends the events of a partition.
    fn add(&self, partition: &PartitionEvents<'_>) -> Result<(), RawError> {
        let numbers: Vec<(u32, usize)> = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let known = partition.keys.iter();
            known.map(|key| (keys.number(key), file_of_key(&key.to_string(), self.paths.len()))).collect()
        };
        let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); self.paths.len()];
        for event in &partition.events {
            let (key, file) = numbers[event.key as usize];
            bytes[file].extend_from_slice(&Event { key, ..*event }.to_bytes());
        }
        for ((bytes, writer), path) in bytes.iter().zip(&self.writers).zip(&self.paths) {
            let written = writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
            written.map_err(|error| staging(path, error))?;
        }
        Ok(())
    }
}

/// The events of one partition. Keys have numbers of the partition.
struct PartitionEvents<'a> {
    /// Ids of all customers, sorted.
    customers: &'a PackedTexts,
    /// The last customer and the customer's number.
    customer: (String, u32),
    products: HashMap<String, u32>,
    categories: HashMap<String, u32>,
    keys: Vec<EventKey>,
    events: Vec<Event>,
    /// Key and time of the events of one order.
    order: Vec<(u32, i64)>,
}

impl<'a> PartitionEvents<'a> {
    fn new(customers: &'a PackedTexts) -> Self {
        Self {
            customers,
            customer: (String::new(), NONE),
            products: HashMap::new(),
            categories: HashMap::new(),
            keys: vec![EventKey::Order],
            events: Vec::new(),
            order: Vec::new(),
        }
    }

    /// Returns the number of a customer; `None` for a customer who is not in the snapshot.
    fn customer(&mut self, id: &str) -> Option<u32> {
        if self.customer.0 != id {
            let number = self.customers.search(id).ok().and_then(|number| u32::try_from(number).ok());
            self.customer = (id.to_owned(), number.unwrap_or(NONE));
        }
        if self.customer.1 == NONE { None } else { Some(self.customer.1) }
    }

    /// Adds an event for each line of the staged `interactions`.
    fn read_interactions(&mut self, interactions: &StagedFile) -> Result<(), RawError> {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for batch in interactions.open_columns(["customer_id", "event", "at"])? {
            let batch = batch.map_err(|error| staging(&interactions.path, error))?;
            let text = |name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let times = batch.column_by_name("at");
            let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
            let (Some(ids), Some(events), Some(times)) = (text("customer_id"), text("event"), times) else {
                continue;
            };
            for row in 0..batch.num_rows() {
                let Some(customer) = self.customer(ids.value(row)) else { continue };
                let key = numbered(&mut numbers, &mut self.keys, events.value(row), EventKey::Interaction);
                self.events.push(Event { key, customer, at: times.value(row) });
            }
        }
        Ok(())
    }
}

impl OrderSink for PartitionEvents<'_> {
    fn product(&mut self, id: &str) -> u32 {
        numbered(&mut self.products, &mut self.keys, id, EventKey::Product)
    }

    fn category(&mut self, name: &str) -> u32 {
        numbered(&mut self.categories, &mut self.keys, name, EventKey::Category)
    }

    fn order(&mut self, customer: &str, lines: &[Line]) {
        let (Some(customer), Some(first)) = (self.customer(customer), lines.first()) else { return };
        // Number 0 is the key of orders.
        self.events.push(Event { key: 0, customer, at: first.at });
        self.order.clear();
        for line in lines {
            self.order.extend([line.product, line.category].map(|key| (key, line.at)));
        }
        self.order.sort_unstable();
        self.order.dedup_by_key(|(key, _)| *key);
        let found = self.order.iter().filter(|(key, _)| *key != NONE);
        self.events.extend(found.map(|(key, at)| Event { key: *key, customer, at: *at }));
    }
}

/// Returns the number of the key of `text`, adding the key to `keys` if it is new.
fn numbered(
    numbers: &mut HashMap<String, u32>,
    keys: &mut Vec<EventKey>,
    text: &str,
    key: fn(String) -> EventKey,
) -> u32 {
    if let Some(number) = numbers.get(text) {
        return *number;
    }
    let number = u32::try_from(keys.len()).unwrap_or(NONE);
    keys.push(key(text.to_owned()));
    numbers.insert(text.to_owned(), number);
    number
}
