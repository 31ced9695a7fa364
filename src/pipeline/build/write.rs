//! Writer of a snapshot's data files: rankings of segments and audiences first, then the parts, whose view
//! `segments` lists the segments of each customer.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{Build, clock::StageClock, manifest::WrittenSnapshot, outputs::Computed};
use crate::{
    config::LakeConfig,
    feature::FeatureView,
    lake::Lake,
    pipeline::{
        audiences::{self, AudienceInput, AudienceOutput},
        churn,
        error::BuildError,
        memberships,
        parts::{self, ServedView, SnapshotTarget, WrittenParts},
        purchases::{self, PurchaseInput},
        query::Session,
        raw::Table,
        segments,
        staging::StagedFile,
    },
    snapshot::{Manifest, SnapshotError, write_statistics},
};

impl Build<'_> {
    /// Writes all data files of the snapshot.
    pub(super) async fn write(
        &self,
        target: SnapshotTarget<'_>,
        computed: Computed,
        clock: &mut StageClock,
    ) -> Result<WrittenSnapshot, BuildError> {
        let Computed { as_of, customers, session, models, recommended, tables, .. } = computed;
        let (mut views, warnings) = (computed.views, computed.warnings);
        let features: Vec<FeatureView> = views.iter().map(|view| view.feature_view(self.config)).collect();
        let find = |name: &str| views.iter().find(|view| view.definition.name == name);
        let has_churn = find(churn::VIEW).is_some();
        let is_rfm_built_in = find("rfm").is_some_and(|view| view.definition.file.is_none());
        self.progress.enter("rankings", 0);
        let mut rankings = segments::write_rfm(target, &session, customers, is_rfm_built_in).await?;
        if has_churn {
            rankings.extend(segments::write_churn(target, &session, customers, &self.config.churn).await?);
        }
        let edges = segments::edges(&session).await?;
        clock.lap("rankings");
        let mut files = rankings.files;
        if self.config.build.purchases {
            self.progress.enter("purchases", 0);
            let input = PurchaseInput {
                tables: &tables.files,
                spec: self.specs.get(&Table::Transactions),
                threads: self.threads,
                scratch: self.scratch.path(),
            };
            files.extend(Box::pin(purchases::write(target, &session, input)).await?);
            clock.lap("purchases");
        }
        tables.remove_events()?;
        if let Some(recommended) = &recommended {
            files.extend(recommended.write_products(target.lake, target.id).await?);
            clock.lap("products");
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
            let written = Box::pin(self.evaluate(target, &session, &base, &views)).await?;
            snapshot.segments.extend(written.rankings.segments);
            snapshot.files.extend(written.rankings.files);
            snapshot.warnings.extend(written.warnings);
            members = written.members;
            clock.lap("audiences");
        }
        let mut memberships = memberships::stage(&session, has_churn, &members, self.scratch.path()).await?;
        self.personal.mark_model(&mut memberships.definition);
        snapshot.views.push(memberships.feature_view(self.config));
        views.push(memberships);
        self.progress.enter("rows", 0);
        let staged: Vec<StagedFile> = views.into_iter().map(|view| view.file).collect();
        let parts =
            parts::write(target, &session, &snapshot.views, &staged, &self.forgotten, self.progress).await?;
        let WrittenParts { mut files, warnings, null_shares } = parts;
        files.append(&mut snapshot.files);
        (snapshot.files, snapshot.null_shares) = (files, null_shares);
        snapshot.warnings.extend(warnings);
        clock.lap("rows");
        self.progress.enter("statistics", 0);
        let written = Arc::new(snapshot.manifest(&clock.stages));
        snapshot.statistics = Some(write_statistics(target.lake, &written).await?);
        clock.lap("statistics");
        Ok(snapshot)
    }

    /// Evaluates the named audiences and writes their rankings. `base` describes the snapshot so far. The
    /// features that the audiences depend on are written to parts in the temporary folder, since the parts of
    /// the snapshot need the members.
    async fn evaluate(
        &self,
        target: SnapshotTarget<'_>,
        session: &Session,
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
        let (reduced, staged): (Vec<FeatureView>, Vec<StagedFile>) = reduced
            .into_iter()
            .zip(views)
            .filter(|(reduced, _)| !reduced.features.is_empty())
            .map(|(reduced, view)| (reduced, view.file.clone()))
            .unzip();
        let draft = SnapshotTarget { lake: &lake, id: target.id };
        let files = parts::write_typed(draft, session, &reduced, &staged, &self.forgotten).await?;
        let columns = Manifest { files, ..base.clone() };
        let input = AudienceInput { target, base, columns: (&lake, &columns) };
        let written = audiences::write(input, &self.audiences).await?;
        parts::discard(draft).await;
        Ok(written)
    }
}
