//! Open snapshot with the values that every response needs, computed once.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::OnceCell;

use super::{
    ReadError,
    audience_cache::{AudienceCache, SnapshotSets},
    membership_place::MembershipPlace,
};
use crate::{
    audience::{Bitmap, figures::Figures},
    feature::ViewKeys,
    snapshot::{
        Current, Forgotten, Manifest, SnapshotFiles, Statistics,
        reader::{BlockCache, ErasedTotals, Gaps, SnapshotReader},
        rfc3339,
    },
    tair::Fields,
};

/// Longest wait for the gaps of a snapshot before it is activated.
const PREFETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Open snapshot, the publish it is served under, and the erasure list applied to it.
#[derive(Debug, Clone)]
pub struct Served {
    /// Number of the publish; 0 for an older snapshot that was opened for a cursor or a history.
    pub publish: u64,
    /// Time of the publish.
    pub(super) published_at: Option<chrono::DateTime<Utc>>,
    /// Manifest of the snapshot.
    pub manifest: Arc<Manifest>,
    /// JSON keys of each view, in the order of the manifest.
    pub keys: Vec<ViewKeys>,
    /// Total size of the JSON keys in bytes.
    pub keys_bytes: usize,
    /// As-of time of the snapshot in RFC 3339.
    pub as_of: String,
    /// Tair hash fields that hold the views.
    pub(super) fields: Fields,
    /// Personal features of all views, as `view.feature`.
    pub personal: Arc<[String]>,
    /// Weak entity tag of all responses from this snapshot. It changes with the publish, the schema of the
    /// views and the erasure list.
    pub tag: Bytes,
    /// Weak entity tag of responses with masked personal values.
    pub masked_tag: Bytes,
    /// Place of the segments of a customer in the rows; `None` for a snapshot of a version without them.
    pub(super) memberships: Option<Arc<MembershipPlace>>,
    pub(super) reader: Arc<SnapshotReader>,
    /// Erasure list.
    pub(super) forgotten: Arc<Forgotten>,
    /// Ranks of the erased customers in the lists, located on first use.
    gaps: OnceCell<Gaps>,
    /// Numbers of the erased customers, located on first use.
    pub(super) erased: OnceCell<Arc<Bitmap>>,
    /// Figures of the segments without erased customers, counted on first use.
    pub(super) figures: OnceCell<HashMap<String, Figures>>,
    /// Figures of the erased customers, read on first use.
    pub(super) erased_totals: OnceCell<ErasedTotals>,
    /// Statistics of the features, read on first use; `None` in a snapshot of a version without them.
    pub(super) statistics: OnceCell<Arc<Option<Statistics>>>,
    /// Columns and sets for audiences, in memory.
    pub(super) sets: Arc<SnapshotSets>,
}

impl Served {
    pub(super) fn open(
        files: SnapshotFiles,
        current: Option<&Current>,
        blocks: BlockCache,
        sets: &AudienceCache,
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
            memberships: MembershipPlace::of(&manifest).map(Arc::new),
            sets: Arc::new(sets.open(files.clone())),
            reader: Arc::new(SnapshotReader::new(files, blocks)),
            manifest,
            forgotten: Arc::default(),
            gaps: OnceCell::new(),
            erased: OnceCell::new(),
            figures: OnceCell::new(),
            erased_totals: OnceCell::new(),
            statistics: OnceCell::new(),
        }
    }

    /// Returns the same snapshot with the erasure list `forgotten` applied.
    pub(super) fn without(&self, forgotten: Arc<Forgotten>) -> Self {
        let tag_of = |kind| tag(self.publish, &self.manifest, &forgotten, kind);
        let (tag, masked_tag) = (tag_of(""), tag_of(MASKED));
        let (gaps, erased) = (OnceCell::new(), OnceCell::new());
        let (figures, erased_totals) = (OnceCell::new(), OnceCell::new());
        Self { tag, masked_tag, forgotten, gaps, erased, figures, erased_totals, ..self.clone() }
    }

    /// Returns the approximate memory in use besides blocks, columns and sets, in bytes.
    pub(super) fn bytes(&self) -> usize {
        // A manifest in memory takes about twice the length of its text.
        let manifest = serde_json::to_vec(&*self.manifest).map_or(0, |text| 2 * text.len());
        let gaps = self.forgotten.len() * 2 * size_of::<u64>();
        let erased = if self.forgotten.is_empty() { 0 } else { self.sets.customers() / 8 };
        manifest + self.keys_bytes + gaps + erased
    }

    /// Checks whether the version `forgotten` of the erasure list is applied.
    pub(super) fn has_applied(&self, forgotten: &Forgotten) -> bool {
        self.forgotten.version() == forgotten.version()
    }

    /// Checks whether the customer `id` is erased.
    #[must_use]
    pub fn forgets(&self, id: &str) -> bool {
        self.forgotten.contains(id)
    }

    /// Returns the number of customers on the erasure list, whether or not the snapshot holds them.
    #[must_use]
    pub fn erased_count(&self) -> u64 {
        self.forgotten.len() as u64
    }

    /// Returns the manifest without erased customers, and without personal values unless `pii` is set.
    #[must_use]
    pub fn manifest_for(&self, pii: bool) -> Manifest {
        let mut manifest = self.manifest.as_ref().clone();
        manifest.warnings.retain(|warning| warning.customer_id.as_ref().is_none_or(|id| !self.forgets(id)));
        if !pii {
            // A warning about an audience may quote a personal value of the audience's expression.
            manifest.warnings.retain(|warning| warning.kind != "audience");
            manifest.remove_personal_segments();
        }
        // A part is described by its first and its last customer.
        for bound in manifest.files.iter_mut().flat_map(|file| [&mut file.first, &mut file.last]) {
            if bound.as_ref().is_some_and(|id| self.forgets(id)) {
                *bound = None;
            }
        }
        manifest
    }

    /// Returns the ranks of the erased customers in the lists. They are located on the first call.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the lists cannot be read.
    pub async fn gaps(&self) -> Result<&Gaps, ReadError> {
        Ok(self.gaps.get_or_try_init(|| self.reader.gaps(&self.forgotten)).await?)
    }

    /// Returns the number of erased customers in the snapshot; 0 until they are located.
    pub(super) fn erased_if_known(&self) -> u64 {
        self.gaps.get().map_or(0, Gaps::customers)
    }

    /// Locates the gaps ahead of the first request. A failure is logged, and the next call of
    /// [`Served::gaps`] tries again.
    pub(super) async fn prefetch_gaps(&self) {
        let prefetched = tokio::time::timeout(PREFETCH_TIMEOUT, self.gaps()).await;
        if !matches!(prefetched, Ok(Ok(_))) {
            let snapshot = &self.manifest.id;
            tracing::warn!(%snapshot, "cannot locate the erased customers in the lists of the snapshot yet");
        }
    }
}

/// Suffix of the entity tag of responses with masked personal values.
const MASKED: &str = "-masked";

/// Formats the entity tag from the publish, the schema, the version of the erasure list and the suffix
/// `kind`.
fn tag(publish: u64, manifest: &Manifest, forgotten: &Forgotten, kind: &str) -> Bytes {
    let mut schema = DefaultHasher::new();
    for view in &manifest.views {
        view.name.hash(&mut schema);
        let features = view.features.iter();
        features.for_each(|feature| (&feature.name, &feature.data_type, feature.personal).hash(&mut schema));
    }
    let erasures = if forgotten.is_empty() { String::new() } else { format!("-{}", forgotten.version()) };
    format!("W/\"{publish}-{}-{:08x}{erasures}{kind}\"", manifest.id, schema.finish() >> 32).into()
}
