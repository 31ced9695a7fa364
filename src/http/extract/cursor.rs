//! Cursors: the place where a list continues, in which snapshot. They hold no server state, so every replica
//! can continue a list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{http::Problem, snapshot::SnapshotId};

/// The place where a list continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The snapshot in which the list began.
    pub(crate) snapshot: SnapshotId,
    /// Name of the list, with its filters.
    pub(crate) list: String,
    /// Number of members already given.
    pub(crate) offset: u64,
    /// Number of customers on the erasure list that was applied to these members.
    pub(crate) erased: u64,
}

impl Cursor {
    /// Returns the cursor in the form that callers hold.
    pub(crate) fn encode(&self) -> String {
        let Self { snapshot, list, offset, erased } = self;
        URL_SAFE_NO_PAD.encode(format!("2 {snapshot} {list} {offset} {erased}"))
    }

    /// Reads a cursor of the list named `list`.
    pub(crate) fn decode(text: &str, list: &str) -> Result<Self, Problem> {
        let cursor = Self::parse(text).filter(|cursor| cursor.list == list);
        cursor.ok_or_else(Self::refused)
    }

    /// Returns the problem of a text that is not a cursor of the list.
    pub(crate) fn refused() -> Problem {
        Problem::bad_cursor("not a cursor of this list; use `next` of the last page unchanged")
    }

    /// Reads a cursor of a list whose name begins with `prefix`. Returns the cursor, and the rest of the
    /// name.
    pub(crate) fn decode_any(text: &str, prefix: &str) -> Result<(Self, String), Problem> {
        let cursor = Self::parse(text).ok_or_else(Self::refused)?;
        let rest = cursor.list.strip_prefix(prefix).ok_or_else(Self::refused)?.to_owned();
        Ok((cursor, rest))
    }

    fn parse(text: &str) -> Option<Self> {
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let fields: Vec<&str> = decoded.split(' ').collect();
        let ["2", snapshot, list, offset, erased] = fields.as_slice() else { return None };
        let (snapshot, list) = (snapshot.parse().ok()?, (*list).to_owned());
        Some(Self { snapshot, list, offset: offset.parse().ok()?, erased: erased.parse().ok()? })
    }

    /// Returns the place from which the list continues when `erased` customers are on the erasure list.
    /// Customers who were erased meanwhile may have had a place before the offset, and their places are taken
    /// by the members behind them. The list goes back by as many places, so that no member is left out;
    /// members may appear twice.
    pub(crate) fn place(&self, erased: u64) -> u64 {
        self.offset.saturating_sub(erased.saturating_sub(self.erased))
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
    fn cursor_roundtrip_and_foreign_cursors_refused() {
        let snapshot: SnapshotId = "20111209T125000Z-5f0c2a9e".parse().expect("an id");
        let cursor = Cursor { snapshot, list: "segment:champions".to_owned(), offset: 100, erased: 2 };
        assert_eq!(Cursor::decode(&cursor.encode(), "segment:champions").expect("its own"), cursor);
        assert!(Cursor::decode(&cursor.encode(), "segment:loyal").is_err());
        assert_eq!([2, 5, 200, 0].map(|erased| cursor.place(erased)), [100, 97, 0, 100]);
        for text in ["", "x", "MSB4", "////", &cursor.encode()[1..]] {
            assert!(Cursor::decode(text, "segment:champions").is_err(), "{text}");
        }
    }
}
