//! Writer of the index of events: sorts the events of each temporary file by key, customer and time.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, UInt32Array},
    datatypes::SchemaRef,
};

use super::event_spill::{EVENT_BYTES, Event, SpilledEvents};
use crate::{
    pipeline::{
        error::BuildError,
        parts::SnapshotTarget,
        raw::RawError,
        staging::{staging, times},
    },
    snapshot::{
        FileEntry, FileKind, SnapshotError,
        event_files::{EVENTS_BLOCK_ROWS, events_path, events_properties, events_schema},
        writer::PartWriter,
    },
};

/// Writes the index files, one for each temporary file.
pub(super) async fn write(
    target: SnapshotTarget<'_>,
    spilled: SpilledEvents,
) -> Result<Vec<FileEntry>, BuildError> {
    let keys = Arc::new(spilled.keys);
    let schema = events_schema();
    let mut entries = Vec::with_capacity(spilled.files.len());
    for (number, file) in spilled.files.into_iter().enumerate() {
        let known = Arc::clone(&keys);
        let events = tokio::task::spawn_blocking(move || sorted(&file, &known)).await??;
        let mut part = PartWriter::new(
            target.lake,
            target.id,
            events_path(number),
            FileKind::Events,
            Arc::clone(&schema),
            events_properties(),
        )?;
        for block in events.chunks(EVENTS_BLOCK_ROWS) {
            part.write(&batch(block, &keys, &schema)?)?;
            part.end_block().await?;
        }
        entries.push(part.finish().await?);
    }
    Ok(entries)
}

/// Reads the events of a temporary file, sorted by the text of the key, customer and time, and removes the
/// file.
fn sorted(file: &Path, keys: &[String]) -> Result<Vec<Event>, RawError> {
    let bytes = std::fs::read(file).map_err(|error| staging(file, error))?;
    std::fs::remove_file(file).map_err(|error| staging(file, error))?;
    let mut events: Vec<Event> =
        bytes.as_chunks::<EVENT_BYTES>().0.iter().map(|bytes| Event::from_bytes(*bytes)).collect();
    drop(bytes);
    let mut order: Vec<u32> = (0..).take(keys.len()).collect();
    order.sort_unstable_by_key(|key| &keys[*key as usize]);
    let mut ranks = vec![0_u32; keys.len()];
    for (rank, key) in (0..).zip(order) {
        ranks[key as usize] = rank;
    }
    events.sort_unstable_by_key(|event| (ranks[event.key as usize], event.customer, event.at));
    Ok(events)
}

fn batch(events: &[Event], keys: &[String], schema: &SchemaRef) -> Result<RecordBatch, SnapshotError> {
    let texts = StringArray::from_iter_values(events.iter().map(|event| &keys[event.key as usize]));
    let customers = UInt32Array::from_iter_values(events.iter().map(|event| event.customer));
    let at = times(events.iter().map(|event| event.at).collect());
    let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(customers), Arc::new(at)];
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| SnapshotError::Write { object: events_path(0), source: error.into() })
}
