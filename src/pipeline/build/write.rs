//! Writer of a snapshot's data files: rankings of segments and audiences first, then the parts, whose view
//! `segments` lists the segments of each customer.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Build, clock::StageClock, manifest::WrittenSnapshot, outputs::Computed};
use crate::{
    config::LakeConfig,
    feature::FeatureView,
    lake::Lake,
    pipeline::{
        audiences::{self, AudienceInput, AudienceOutput},
        churn,
        customer_ids::{self, SortedCustomers},
        error::BuildError,
        memberships,
        parts::{self, PartsInput, ServedView, SnapshotTarget, WrittenParts},
        purchases::{self, PurchaseInput},
        raw::Table,
        segments::{self, Rankings},
        view_files::ViewFiles,
    },
    snapshot::{FileEntry, Manifest, SnapshotError, models::ModelFile, write_statistics},
    telemetry::Progress,
};

/// Returns the number of rows of `files`.
fn rows(files: &[FileEntry]) -> u64 {
    files.iter().map(|file| file.rows).sum()
}

impl Build<'_> {
    /// Writes all data files of the snapshot.
    pub(super) async fn write(
        &self,
        target: SnapshotTarget<'_>,
        computed: Computed,
        clock: &mut StageClock,
    ) -> Result<WrittenSnapshot, BuildError> {
        let Computed { as_of, customers, session, mut models, recommended, tables, .. } = computed;
        let (mut views, warnings) = (computed.views, computed.warnings);
        if let (Some(card), Some(content)) = (&mut models.churn, computed.churn_model) {
            card.file = Some(ModelFile::write(target.lake, target.id, churn::MODEL_FILE, content).await?);
        }
        let features: Vec<FeatureView> = views.iter().map(|view| view.feature_view(self.config)).collect();
        let find = |name: &str| views.iter().find(|view| view.definition.name == name);
        let has_churn = find(churn::VIEW).is_some();
        let is_rfm_built_in = find("rfm").is_some_and(|view| view.definition.file.is_none());
        self.progress.enter("rankings", 0);
        let churn = async {
            if has_churn {
                segments::write_churn(target, &session, customers, &self.config.churn).await
            } else {
                Ok(Rankings::default())
            }
        };
        let rfm = segments::write_rfm(target, &session, customers, is_rfm_built_in);
        let (mut rankings, churn, edges) = tokio::try_join!(rfm, churn, segments::edges(&session))?;
        rankings.extend(churn);
        let mut files = rankings.files;
        clock.lap("rankings", Some(rows(&files)));
        let (known, threads) = (tables.files.get(Table::Customers.name()).cloned(), self.threads);
        let sorted = move || customer_ids::sorted(&known.unwrap_or_default(), threads);
        let sorted = Arc::new(tokio::task::spawn_blocking(sorted).await??);
        if self.config.build.purchases {
            self.progress.enter("purchases", 0);
            let input = PurchaseInput {
                customers: &sorted.ids,
                tables: &tables.files,
                spec: self.specs.get(&Table::Transactions),
                threads: self.threads,
                scratch: self.scratch.path(),
            };
            let written = Box::pin(purchases::write(target, input)).await?;
            clock.lap("purchases", Some(rows(&written)));
            files.extend(written);
        }
        tables.remove_events()?;
        if let Some(recommended) = &recommended {
            self.progress.enter("products", 0);
            let written = recommended.write_products(target.lake, target.id).await?;
            clock.lap("products", Some(rows(&written)));
            files.extend(written);
        }
        let mut snapshot = WrittenSnapshot {
            id: target.id.clone(),
            as_of,
            views: features,
            models,
            customers,
            null_shares: BTreeMap::new(),
            files,
            statistics: None,
            segments: rankings.segments,
            edges,
            counts: tables.counts,
            sources: tables.sources,
            warnings,
        };
        let mut members = Vec::new();
        if !self.audiences.is_empty() {
            self.progress.enter("audiences", 0);
            let base = snapshot.manifest(&clock.stages);
            let written = Box::pin(self.evaluate(target, &sorted, &base, &views)).await?;
            let listed = rows(&written.rankings.files);
            snapshot.segments.extend(written.rankings.segments);
            snapshot.files.extend(written.rankings.files);
            snapshot.warnings.extend(written.warnings);
            members = written.members;
            clock.lap("audiences", Some(listed));
        }
        self.progress.enter("rows", customers);
        let mut memberships = memberships::stage(&session, has_churn, members, &sorted.ids).await?;
        self.personal.mark_model(&mut memberships.definition);
        snapshot.views.push(memberships.feature_view(self.config));
        views.push(memberships);
        let staged: Vec<ViewFiles> = views.into_iter().map(|view| view.files).collect();
        let input = self.parts(target, as_of, &sorted, &snapshot.views, &staged);
        let WrittenParts { mut files, warnings, null_shares } = parts::write(input, self.progress).await?;
        files.append(&mut snapshot.files);
        (snapshot.files, snapshot.null_shares) = (files, null_shares);
        snapshot.warnings.extend(warnings);
        clock.lap("rows", Some(customers));
        self.progress.enter("statistics", 0);
        let written = Arc::new(snapshot.manifest(&clock.stages));
        snapshot.statistics = Some(write_statistics(target.lake, &written).await?);
        clock.lap("statistics", None);
        Ok(snapshot)
    }

    /// Returns the parts to write of `views`, whose rows are `staged`.
    fn parts<'a>(
        &'a self,
        target: SnapshotTarget<'a>,
        as_of: DateTime<Utc>,
        customers: &'a Arc<SortedCustomers>,
        views: &'a [FeatureView],
        staged: &'a [ViewFiles],
    ) -> PartsInput<'a> {
        let (forgotten, threads, memory) = (&self.forgotten, self.threads, self.config.build.memory);
        let as_of = as_of.timestamp_micros();
        PartsInput { target, customers, views, staged, forgotten, as_of, with_rows: true, threads, memory }
    }

    /// Evaluates the named audiences and writes their rankings. `base` describes the snapshot so far. The
    /// features that the audiences depend on are written to parts in the temporary folder, since the parts of
    /// the snapshot need the members.
    async fn evaluate(
        &self,
        target: SnapshotTarget<'_>,
        customers: &Arc<SortedCustomers>,
        base: &Manifest,
        views: &[ServedView],
    ) -> Result<AudienceOutput, BuildError> {
        let folder = self.scratch.path().join("audiences");
        let url = folder.display().to_string();
        let lake = Lake::open(&LakeConfig { url, ..LakeConfig::default() }, Path::new(""))
            .map_err(SnapshotError::from)?;
        let needed = audiences::features(&self.audiences);
        let mut reduced = base.views.clone();
        for view in &mut reduced {
            view.features.retain(|feature| needed.contains(&(view.name.as_str(), feature.name.as_str())));
        }
        let (reduced, staged): (Vec<FeatureView>, Vec<ViewFiles>) = reduced
            .into_iter()
            .zip(views)
            .filter(|(reduced, _)| !reduced.features.is_empty())
            .map(|(reduced, view)| (reduced, view.files.clone()))
            .unzip();
        let draft = SnapshotTarget { lake: &lake, id: target.id };
        let input =
            PartsInput { with_rows: false, ..self.parts(draft, base.as_of, customers, &reduced, &staged) };
        // The figures of the views are those of the parts of the snapshot.
        let WrittenParts { files, .. } = parts::write(input, &Progress::default()).await?;
        let columns = Manifest { files, ..base.clone() };
        let input = AudienceInput { target, base, columns: (&lake, &columns), threads: self.threads };
        let written = audiences::write(input, &self.audiences).await?;
        parts::discard(draft).await;
        Ok(written)
    }
}
