//! The values of a customer's views in one allocation, so that a read allocates and frees once.

use std::ops::Range;

/// The values of one view for one customer: a JSON array in the order of the view's features, or `None` if
/// the customer is absent from the view.
pub type ViewRow<'a> = Option<&'a [u8]>;

/// One [`ViewRow`] for each view of a snapshot, in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRows {
    views: usize,
    /// Lengths of all rows in little endian, then the rows.
    bytes: Box<[u8]>,
}

/// A length as stored in [`ViewRows`].
type Length = [u8; size_of::<u32>()];
/// The stored length of an absent row.
const ABSENT: u32 = u32::MAX;

impl ViewRows {
    /// Copies `rows`. Returns `None` if a row is 4 GiB or longer.
    pub fn new<'a>(rows: impl ExactSizeIterator<Item = ViewRow<'a>> + Clone) -> Option<Self> {
        let views = rows.len();
        let values = rows.clone().flatten().map(<[u8]>::len).sum::<usize>();
        let mut bytes = Vec::with_capacity(views * size_of::<Length>() + values);
        Self::append(rows, &mut bytes)?;
        Some(Self { views, bytes: bytes.into() })
    }

    /// Appends `rows` in the format that [`ViewRows::first_of`] reads. Returns `None` if a row is 4 GiB or
    /// longer.
    pub(crate) fn append<'a>(
        rows: impl Iterator<Item = ViewRow<'a>> + Clone,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        for row in rows.clone() {
            let length = row
                .map_or(Some(ABSENT), |row| u32::try_from(row.len()).ok().filter(|length| *length != ABSENT));
            out.extend_from_slice(&length?.to_le_bytes());
        }
        rows.flatten().for_each(|row| out.extend_from_slice(row));
        Some(())
    }

    /// Copies the first `views` rows of `bytes`. Returns `None` if `bytes` is too short.
    pub(crate) fn first_of(bytes: &[u8], views: usize) -> Option<Self> {
        let (lengths, _) = bytes.get(..views * size_of::<Length>())?.as_chunks();
        let values = lengths.iter().copied().filter_map(length).sum::<usize>();
        Some(Self { views, bytes: bytes.get(..size_of_val(lengths) + values)?.into() })
    }

    /// Edits each row in place. `edit` gets the index of the view, all bytes, and the range of the row in
    /// them; it may change the bytes of the range and their number, which it returns. Returns `None` if
    /// `edit` does.
    pub(super) fn edited(
        self,
        mut edit: impl FnMut(usize, &mut Vec<u8>, Range<usize>) -> Option<usize>,
    ) -> Option<Self> {
        let views = self.views;
        let mut bytes = self.bytes.into_vec();
        let mut start = views * size_of::<Length>();
        for view in 0..views {
            let at = view * size_of::<Length>();
            let Some(before) = length(*bytes.get(at..)?.first_chunk()?) else { continue };
            let after = edit(view, &mut bytes, start..start + before)?;
            let stored = u32::try_from(after).ok().filter(|length| *length != ABSENT)?;
            bytes
                .get_mut(at..)?
                .first_chunk_mut()
                .map(|length: &mut Length| *length = stored.to_le_bytes())?;
            start += after;
        }
        Some(Self { views, bytes: bytes.into() })
    }

    /// Returns the number of views.
    #[must_use]
    pub fn len(&self) -> usize {
        self.views
    }

    /// Checks whether there are no views.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.views == 0
    }

    /// Returns the row of the view at index `view`; `None` also for an index out of range.
    #[must_use]
    pub fn get(&self, view: usize) -> ViewRow<'_> {
        self.iter().nth(view).flatten()
    }

    /// Iterates over all rows.
    pub fn iter(&self) -> impl Iterator<Item = ViewRow<'_>> {
        let (lengths, mut values) = self.bytes.split_at(self.views * size_of::<Length>());
        let (lengths, _) = lengths.as_chunks();
        lengths.iter().map(move |bytes| values.split_off(..length(*bytes)?))
    }

    /// Returns the total length of the rows in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.views * size_of::<Length>()
    }
}

/// Decodes a stored length; `None` for an absent row.
fn length(bytes: Length) -> Option<usize> {
    let length = u32::from_le_bytes(bytes);
    (length != ABSENT).then_some(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_unchanged() {
        let lists: [&[ViewRow<'_>]; 5] = [
            &[],
            &[None],
            &[Some(b"")],
            &[Some(b"[1]"), None, Some(b""), Some(b"[2,3]")],
            &[None, Some(b"[]"), None],
        ];
        for rows in lists {
            let kept = ViewRows::new(rows.iter().copied()).expect("short");
            assert_eq!(kept.iter().collect::<Vec<_>>(), rows);
            assert_eq!((kept.len(), kept.is_empty()), (rows.len(), rows.is_empty()));
            assert_eq!(kept.bytes(), rows.iter().flatten().map(|row| row.len()).sum::<usize>());
            for at in 0..rows.len() + 2 {
                assert_eq!(kept.get(at), rows.get(at).copied().flatten());
            }
            let mut longer = Vec::new();
            ViewRows::append(rows.iter().copied(), &mut longer).expect("short");
            for cut in 0..longer.len() {
                assert_eq!(ViewRows::first_of(&longer[..cut], rows.len()), None);
            }
            longer.extend_from_slice(b"more");
            assert_eq!(ViewRows::first_of(&longer, rows.len()), Some(kept));
        }
    }
}
