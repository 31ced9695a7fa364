//! An open snapshot, with what every answer from it needs made ready once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::OnceCell;

use super::{
    ReadError,
    sets::{SetCache, SnapshotSets},
};
use crate::{
    feature::ViewKeys,
    snapshot::{
        Current, Forgotten, Manifest, SnapshotFiles,
        reader::{BlockCache, Gaps, SnapshotReader},
        rfc3339,
    },
    tair::Fields,
};

/// How long a snapshot's forgotten customers may be counted ahead.
const COUNTING: Duration = Duration::from_secs(10);

/// An open snapshot, the publish that it is served under, and who of it is not served.
#[derive(Debug, Clone)]
pub struct Served {
    /// The number of the publish; 0 for a snapshot that is open for a cursor's sake.
    pub publish: u64,
    /// When it was published.
    pub(super) published_at: Option<chrono::DateTime<Utc>>,
    /// The snapshot's manifest.
    pub manifest: Arc<Manifest>,
    /// The JSON keys of each view, in the manifest's order.
    pub keys: Vec<ViewKeys>,
    /// How many bytes these have, all in all.
    pub keys_bytes: usize,
    /// The manifest's `as_of` in RFC 3339.
    pub as_of: String,
    /// The fields of Tair that hold its views.
    pub(super) fields: Fields,
    /// The personal features of all views, as `view.feature`.
    pub personal: Arc<[String]>,
    /// A weak entity tag for all that is answered from it: it changes with the publish, with the form of the rows, and with
    /// the list of the forgotten.
    pub tag: Bytes,
    /// The same for what is answered with personal values masked.
    pub masked_tag: Bytes,
    pub(super) reader: Arc<SnapshotReader>,
    /// Who is forgotten.
    pub(super) forgotten: Arc<Forgotten>,
    /// The places of these in the lists, once they were looked for.
    gaps: OnceCell<Gaps>,
    /// What its audiences are counted with.
    pub(super) sets: Arc<SnapshotSets>,
}

impl Served {
    pub(super) fn open(
        files: SnapshotFiles,
        current: Option<&Current>,
        blocks: BlockCache,
        sets: &SetCache,
    ) -> Self {
        let manifest = Arc::clone(files.manifest());
        let publish = current.map_or(0, |current| current.publish);
        let personal: Arc<[String]> =
            manifest.personal().map(|(view, feature)| format!("{view}.{feature}")).collect();
        let keys: Vec<ViewKeys> = manifest.views.iter().map(ViewKeys::new).collect();
        Self {
            publish,
            published_at: current.map(|current| current.published_at),
            keys_bytes: keys.iter().map(ViewKeys::bytes).sum(),
            keys,
            as_of: rfc3339::format(manifest.as_of),
            fields: Fields::new(&manifest.views),
            personal,
            tag: tag(publish, &manifest, &Forgotten::default(), ""),
            masked_tag: tag(publish, &manifest, &Forgotten::default(), MASKED),
            sets: Arc::new(sets.open(files.clone())),
            reader: Arc::new(SnapshotReader::new(files, blocks)),
            manifest,
            forgotten: Arc::default(),
            gaps: OnceCell::new(),
        }
    }

    /// The same without the customers of `forgotten`.
    pub(super) fn without(&self, forgotten: Arc<Forgotten>) -> Self {
        let tag = |kind| tag(self.publish, &self.manifest, &forgotten, kind);
        let (tag, masked_tag) = (tag(""), tag(MASKED));
        Self { tag, masked_tag, forgotten, gaps: OnceCell::new(), ..self.clone() }
    }

    /// Whether it leaves out exactly those of `forgotten`.
    pub(super) fn is_without(&self, forgotten: &Forgotten) -> bool {
        self.forgotten.version() == forgotten.version()
    }

    /// Whether the customer `id` is forgotten.
    #[must_use]
    pub fn forgets(&self, id: &str) -> bool {
        self.forgotten.contains(id)
    }

    /// The places that forgotten customers leave empty, looked for once.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn gaps(&self) -> Result<&Gaps, ReadError> {
        Ok(self.gaps.get_or_try_init(|| self.reader.gaps(&self.forgotten)).await?)
    }

    /// Looks for the gaps ahead, so that nobody has to wait for it. What fails is tried again when it is asked for.
    pub(super) async fn count(&self) {
        let counted = tokio::time::timeout(COUNTING, self.gaps()).await;
        if !matches!(counted, Ok(Ok(_))) {
            tracing::warn!(snapshot = %self.manifest.id, "the forgotten customers of the snapshot are not counted yet");
        }
    }
}

/// What tells the tag of masked answers from that of whole ones.
const MASKED: &str = "-masked";

fn tag(publish: u64, manifest: &Manifest, forgotten: &Forgotten, kind: &str) -> Bytes {
    let mut form = DefaultHasher::new();
    for view in &manifest.views {
        view.name.hash(&mut form);
        let features = view.features.iter();
        features.for_each(|feature| (&feature.name, &feature.data_type, feature.personal).hash(&mut form));
    }
    let without = if forgotten.is_empty() { String::new() } else { format!("-{}", forgotten.version()) };
    format!("W/\"{publish}-{}-{:08x}{without}{kind}\"", manifest.id, form.finish() >> 32).into()
}
