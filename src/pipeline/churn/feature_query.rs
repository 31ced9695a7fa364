//! The query for the features of customers at an instant.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    feature_files::FeatureFiles,
    features::{BUILT_IN, DEMAND, FeatureSource, FeatureTable, VIEW},
    product_demand::{self, DemandWindow},
};
use crate::pipeline::{
    BuildError, RawError, ViewError,
    id_hash::is_sampled,
    parallel::parallel_map,
    query::{Convert, ID, Session},
    staging::StagedFile,
};

/// A query for features, of all customers with an order or of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeatureQuery<'a> {
    pub(super) sources: &'a [FeatureSource],
    /// Names of the sources that exist. A view that replaces a built-in one may lack columns, which read as
    /// null.
    pub(super) available: &'a BTreeSet<String>,
    /// Keeps one customer in this many, by the hash of the id; 1 keeps all.
    pub(super) one_in: u64,
    /// Whether to read the features from [`product_demand`]; without, their values are NaN.
    pub(super) with_demand: bool,
    pub(super) threads: usize,
}

impl FeatureQuery<'_> {
    /// Writes the features as the views of `session` have them at the instant of `window` to files.
    ///
    /// # Errors
    /// Fails if a query fails, or if the staging cannot be read or written.
    pub(super) async fn stage(
        &self,
        session: &Session,
        window: DemandWindow,
    ) -> Result<FeatureFiles, BuildError> {
        if self.with_demand {
            product_demand::register(session, window, self.threads).await?;
        }
        let built_in = (0..BUILT_IN.len()).map(|at| format!("c{at}")).chain(["days".to_owned()]);
        let built_in = stage(session, "features", &self.sql(), built_in).await?;
        let mut own = Vec::new();
        for (number, view) in self.own_views().into_iter().enumerate() {
            let places = self.places(view);
            let columns = places.iter().map(|at| format!("c{at}"));
            let files = stage(session, &format!("features-{number}"), &self.own_sql(view), columns).await?;
            own.push((places, files));
        }
        Ok(FeatureFiles { built_in, own, sources: self.sources.len(), window })
    }

    /// Reads the features of the sampled customers as the views of `session` have them at the instant of
    /// `window`.
    ///
    /// # Errors
    /// Fails if a query fails, or if the staging cannot be read or written.
    pub(super) async fn read(
        &self,
        session: &Session,
        window: DemandWindow,
    ) -> Result<FeatureTable, BuildError> {
        let (files, one_in, threads) = (self.stage(session, window).await?, self.one_in, self.threads);
        let read = move || -> Result<FeatureTable, RawError> {
            let parts = parallel_map(threads, files.partitions(), || (), |(), at| files.read(at, one_in));
            let mut table = files.empty();
            for part in parts {
                table.append(part?);
            }
            table.sort();
            Ok(table)
        };
        Ok(tokio::task::spawn_blocking(read).await??)
    }

    /// Returns the views with a feature to read.
    pub(super) fn views(&self) -> BTreeSet<&str> {
        let available = self.sources.iter().filter(|source| self.available.contains(&source.name()));
        available.map(|source| source.view.as_str()).chain(["rfm"]).collect()
    }

    /// Returns the user's views with a feature to read.
    fn own_views(&self) -> BTreeSet<&str> {
        let own = self.sources[BUILT_IN.len()..].iter();
        own.filter(|source| self.available.contains(&source.name()))
            .map(|source| source.view.as_str())
            .collect()
    }

    /// Returns the indexes of the features of the user's `view`.
    fn places(&self, view: &str) -> Vec<usize> {
        let is_read = |source: &FeatureSource| source.view == view && self.available.contains(&source.name());
        (BUILT_IN.len()..self.sources.len()).filter(|at| is_read(&self.sources[*at])).collect()
    }

    /// Returns the query for the features of the user's `view`. Each view is a query of its own, since
    /// planning a join of many views takes longer than running it.
    fn own_sql(&self, view: &str) -> String {
        let column = |at: &usize| format!("CAST(\"{}\" AS DOUBLE) AS c{at}", self.sources[*at].column);
        let columns: Vec<String> = self.places(view).iter().map(column).collect();
        format!("SELECT customer_id, {} FROM \"{view}\"", columns.join(", "))
    }

    /// Returns the query for id, built-in features and days with an order.
    fn sql(&self) -> String {
        let built_in = &self.sources[..BUILT_IN.len()];
        let is_read = |source: &FeatureSource| {
            if source.view == DEMAND { self.with_demand } else { self.available.contains(&source.name()) }
        };
        let selected: Vec<String> = built_in
            .iter()
            .map(|source| match (is_read(source), source.column.as_str()) {
                (false, _) => "CAST(NULL AS DOUBLE)".to_owned(),
                (true, "first_purchase_at") => {
                    format!("CAST(CAST(v_{}.first_purchase_at AS BIGINT) AS DOUBLE)", source.view)
                }
                (true, column) => format!("CAST(v_{}.\"{column}\" AS DOUBLE)", source.view),
            })
            .collect();
        let mut joins = String::new();
        let joined: BTreeSet<&str> = built_in
            .iter()
            .filter(|source| source.view != "rfm" && is_read(source))
            .map(|source| source.view.as_str())
            .collect();
        for view in joined {
            let table = if view == DEMAND { product_demand::TABLE } else { view };
            // Writing to a string does not fail.
            let _ = write!(
                joins,
                " LEFT JOIN \"{table}\" AS v_{view} ON v_{view}.customer_id = v_rfm.customer_id"
            );
        }
        let numbered: Vec<String> =
            selected.iter().enumerate().map(|(at, text)| format!("{text} AS c{at}")).collect();
        format!(
            "SELECT v_rfm.customer_id, {}, CAST(d.days AS DOUBLE) AS days FROM rfm AS v_rfm{joins} \
             LEFT JOIN (SELECT customer_id, count(*) AS days FROM \
                 (SELECT customer_id, date_trunc('day', ordered_at) AS day \
                  FROM orders GROUP BY customer_id, day) GROUP BY customer_id \
             ) d ON d.customer_id = v_rfm.customer_id WHERE v_rfm.frequency > 0",
            numbered.join(", ")
        )
    }

    /// Returns whether the customer `id` is in the sample.
    pub(super) fn samples(&self, id: &str) -> bool {
        is_sampled(id, self.one_in)
    }
}

/// Runs `sql`, whose first column is the id and whose others are the numbers `columns`, and writes the rows
/// of each partition to a file.
async fn stage(
    session: &Session,
    name: &str,
    sql: &str,
    columns: impl Iterator<Item = String>,
) -> Result<Vec<StagedFile>, ViewError> {
    let numbers = columns.map(|column| Field::new(column, DataType::Float64, true));
    let id = Field::new(ID, DataType::Utf8, false);
    let schema: SchemaRef = Arc::new(Schema::new([id].into_iter().chain(numbers).collect::<Vec<_>>()));
    let of_rows = Arc::clone(&schema);
    let convert: Convert =
        Arc::new(move |batch| RecordBatch::try_new(Arc::clone(&of_rows), batch.columns().to_vec()));
    let files = session.stage_query(&format!("{VIEW}-{name}"), sql, &schema, convert).await?;
    Ok(files.staged().cloned().collect())
}
