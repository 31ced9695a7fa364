//! Cursors: where a list goes on, in which snapshot. They hold no state, so every replica understands them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Problem;
use crate::snapshot::SnapshotId;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The snapshot that the list began in.
    pub(super) snapshot: SnapshotId,
    /// The list.
    pub(super) list: String,
    /// How many members have been given.
    pub(super) offset: u64,
}

impl Cursor {
    /// The cursor as callers hold it.
    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {} {} {}", self.snapshot, self.list, self.offset))
    }

    /// The cursor in `text`, which must be one of `list`.
    pub(super) fn decode(text: &str, list: &str) -> Result<Self, Problem> {
        let bad = || Problem::bad_cursor("it is not a cursor of this list; take it from `next` as it is");
        let decoded = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(bad)?;
        let fields: Vec<&str> = decoded.split(' ').collect();
        let ["1", snapshot, of, offset] = fields.as_slice() else { return Err(bad()) };
        let cursor = Self {
            snapshot: snapshot.parse().map_err(|_| bad())?,
            list: (*of).to_owned(),
            offset: offset.parse().map_err(|_| bad())?,
        };
        if cursor.list == list { Ok(cursor) } else { Err(bad()) }
    }
}

/// Checks that decoding `data` does not panic and that a decoded cursor is encoded to the same fields.
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // As sent by a caller, and as the text behind the encoding, of which random bytes are rarely an example.
    for cursor in [text.to_string(), URL_SAFE_NO_PAD.encode(data)] {
        let list = text.split(' ').nth(2).unwrap_or_default();
        if let Ok(decoded) = Cursor::decode(&cursor, list) {
            assert_eq!(decoded.list, list, "a cursor of another list");
            assert_eq!(Cursor::decode(&decoded.encode(), list).ok(), Some(decoded), "{cursor}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_and_nothing_else_passes() {
        let snapshot: SnapshotId = "20111209T125000Z-5f0c2a9e".parse().expect("an id");
        let cursor = Cursor { snapshot, list: "segment:champions".to_owned(), offset: 100 };
        assert_eq!(Cursor::decode(&cursor.encode(), "segment:champions").expect("its own"), cursor);
        assert!(Cursor::decode(&cursor.encode(), "segment:loyal").is_err());
        for text in ["", "x", "MSB4", "////", &cursor.encode()[1..]] {
            assert!(Cursor::decode(text, "segment:champions").is_err(), "{text}");
        }
    }
}
