//! Product lists of a customer's row, with the names of the products.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use super::{ReadError, Served, Serving, reads::BATCH_READS};
use crate::{
    feature::{Row, elements},
    snapshot::reader::ProductNames,
};

/// Products that are recommended to a customer.
#[derive(Debug)]
pub struct Recommended {
    /// Products that are new to the customer, the best first.
    pub products: Vec<NextProduct>,
    /// Products that the customer may buy again, the most likely first.
    pub buy_again: Vec<RepeatProduct>,
}

/// A product that is new to the customer.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextProduct {
    /// Id of the product.
    #[schema(example = "85123A")]
    pub product_id: String,
    /// Name of the product; null where the raw data has none, or names cannot be read at the moment.
    #[schema(example = "WHITE HANGING HEART T-LIGHT HOLDER")]
    pub name: Option<String>,
    /// Share of the votes of the customer's purchases, times the product's trend; 0 for a best seller that
    /// fills the list.
    #[schema(value_type = f64, example = 0.184)]
    pub score: Number,
    /// The purchase that contributed most to the score; null for a best seller.
    pub because: Option<Because>,
}

/// A product that the customer bought.
#[derive(Debug, Serialize, ToSchema)]
pub struct Because {
    /// Id of the product.
    #[schema(example = "22423")]
    pub product_id: String,
    /// Name of the product, null as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    pub name: Option<String>,
}

/// A product that the customer bought and may buy again.
#[derive(Debug, Serialize, ToSchema)]
pub struct RepeatProduct {
    /// Id of the product.
    #[schema(example = "22423")]
    pub product_id: String,
    /// Name of the product, null as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    pub name: Option<String>,
    /// Day (UTC) of the last purchase.
    #[schema(format = Date, example = "2011-10-04")]
    pub last_on: String,
    /// Day of the expected next purchase, by the customer's own interval or else by that of all customers;
    /// null for a product that no customer bought twice.
    #[schema(format = Date, example = "2011-12-20")]
    pub due_on: Option<String>,
}

/// The product lists of a customer's row, as parallel columns.
#[derive(Debug, Default)]
struct ProductLists {
    products: Vec<String>,
    scores: Vec<Number>,
    because: Vec<Option<String>>,
    buy_again: Vec<String>,
    last_on: Vec<String>,
    due_on: Vec<Option<String>>,
}

impl ProductLists {
    /// Reads the row; a customer who is absent from the view has empty lists, and so has each list of
    /// which a column is personal and `masked`.
    fn read(served: &Served, view: usize, row: &Row, masked: bool) -> serde_json::Result<Self> {
        let Some(array) = row.views.get(view) else { return Ok(Self::default()) };
        let features = &served.manifest.views[view].features;
        let values: Vec<&[u8]> = elements(array).collect();
        let value = |name: &str| {
            let at = features.iter().position(|feature| feature.name == name);
            if masked && at.is_some_and(|at| features[at].personal) {
                return b"[]".as_slice();
            }
            at.and_then(|at| values.get(at).copied()).unwrap_or(b"[]")
        };
        Ok(Self {
            products: serde_json::from_slice(value("products"))?,
            scores: serde_json::from_slice(value("product_scores"))?,
            because: serde_json::from_slice(value("product_because"))?,
            buy_again: serde_json::from_slice(value("buy_again"))?,
            last_on: serde_json::from_slice(value("buy_again_last_on"))?,
            due_on: serde_json::from_slice(value("buy_again_due_on"))?,
        })
    }

    /// Returns the ids of all products in the lists.
    fn ids(&self) -> BTreeSet<String> {
        self.products.iter().chain(self.because.iter().flatten()).chain(&self.buy_again).cloned().collect()
    }
}

impl Served {
    /// Returns the names of all products of the snapshot, from memory after the first call.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if they cannot be read.
    pub async fn product_names(&self) -> Result<Arc<ProductNames>, ReadError> {
        Ok(self.reader.product_names().await?)
    }
}

impl Serving {
    /// Returns the product lists in `row`, with `view` as the place of the view `recommendations`. Personal
    /// columns are left out if `masked`.
    ///
    /// # Errors
    /// The row cannot be parsed.
    pub async fn recommended(
        &self,
        served: &Served,
        view: usize,
        row: &Row,
        masked: bool,
    ) -> serde_json::Result<Recommended> {
        let lists = ProductLists::read(served, view, row, masked)?;
        let names = self.product_names(served, &lists.ids()).await;
        let name = |id: &String| names.get(id).cloned();
        let products = lists.products.into_iter().zip(lists.scores).zip(lists.because);
        let products = products.map(|((product_id, score), because)| NextProduct {
            name: name(&product_id),
            because: because.map(|product_id| Because { name: name(&product_id), product_id }),
            product_id,
            score,
        });
        let repeats = lists.buy_again.into_iter().zip(lists.last_on).zip(lists.due_on);
        let repeats = repeats.map(|((product_id, last_on), due_on)| RepeatProduct {
            name: name(&product_id),
            product_id,
            last_on,
            due_on,
        });
        Ok(Recommended { products: products.collect(), buy_again: repeats.collect() })
    }

    /// Reads the names of products. Products without a name, and products that cannot be read, are left out.
    async fn product_names(&self, served: &Served, ids: &BTreeSet<String>) -> BTreeMap<String, String> {
        let name = |id: &String| {
            let id = id.clone();
            async move {
                let product = served.reader.product(&id).await;
                // The reader counts and logs its errors. A list without some names is better than no list.
                Some((id, product.ok()??.name?))
            }
        };
        let reads: Vec<_> = ids.iter().map(name).collect();
        stream::iter(reads).buffered(BATCH_READS).filter_map(std::future::ready).collect().await
    }
}
