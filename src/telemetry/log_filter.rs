//! The filter of the log, which a reload of the configuration replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{
    Metadata,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    layer::{Context, Filter},
};

/// A filter that can be replaced. Unlike `tracing_subscriber::reload` it takes no lock, since some lines pass
/// the filter for each request.
#[derive(Debug, Clone)]
pub(super) struct LogFilter(Arc<ArcSwap<EnvFilter>>);

impl LogFilter {
    pub(super) fn new(filter: EnvFilter) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(filter)))
    }

    /// Replaces the filter.
    pub(super) fn replace(&self, filter: EnvFilter) {
        self.0.store(Arc::new(filter));
        // Every place that logs keeps what the filter said about it.
        tracing::callsite::rebuild_interest_cache();
    }
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::enabled(&**self.0.load(), metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&**self.0.load(), metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&**self.0.load())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::on_new_span(&**self.0.load(), attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::on_record(&**self.0.load(), id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_enter(&**self.0.load(), id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_exit(&**self.0.load(), id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::on_close(&**self.0.load(), id, context);
    }
}
