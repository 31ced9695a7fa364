//! Spans: work with a start, an end, a name and attributes, below the span that is current in the task.

use std::{
    borrow::Cow,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::Either;

use super::{
    TRACER, Tracer,
    ids::{self, TraceId, TraceParent},
};

tokio::task_local! {
    /// The recorded span that the current task works for.
    static CURRENT: SpanContext;
}

/// A span, and the trace that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanContext {
    pub(super) trace_id: TraceId,
    pub(super) span_id: u64,
}

/// The span above another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParentSpan {
    pub(super) span_id: u64,
    pub(super) is_remote: bool,
}

/// Role of a span in a call between processes. The numbers are those of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside of the process.
    Internal = 1,
    /// Answer to a request of another process.
    Server = 2,
    /// Request to another process.
    Client = 3,
}

/// Value of an attribute.
#[derive(Debug, Clone)]
pub enum AttributeValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
}

impl From<&'static str> for AttributeValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for AttributeValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct FinishedSpan {
    pub(super) context: SpanContext,
    pub(super) parent: Option<ParentSpan>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    /// Start and end in nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    pub(super) has_failed: bool,
}

/// A span, which ends when dropped. A span that is not recorded costs nothing.
///
/// Attributes must not have personal data or secrets.
#[derive(Debug, Default)]
pub struct Span(Option<Box<OpenSpan>>);

#[derive(Debug)]
struct OpenSpan {
    tracer: &'static Tracer,
    since: Instant,
    span: FinishedSpan,
}

impl Span {
    /// Begins a span below the current one. Not recorded if the current task works for no recorded span.
    #[must_use]
    pub fn child(name: &'static str, kind: SpanKind) -> Self {
        Self::below_current(Cow::Borrowed(name), kind, Instant::now)
    }

    /// Records work that began at `since` and ends now, below the current span.
    pub fn record(name: &str, since: Instant) {
        if TRACER.get().is_some() {
            drop(Self::below_current(Cow::Owned(name.to_owned()), SpanKind::Internal, || since));
        }
    }

    fn below_current(name: Cow<'static, str>, kind: SpanKind, since: impl FnOnce() -> Instant) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let Ok(above) = CURRENT.try_with(|current| *current) else { return Self(None) };
        let parent = ParentSpan { span_id: above.span_id, is_remote: false };
        Self::open(tracer, above.trace_id, Some(parent), name, kind, since())
    }

    /// Begins the first span of this process in a trace, below the span of the caller if there is one. Not
    /// recorded unless the sampler takes the trace.
    #[must_use]
    pub fn root(name: &'static str, kind: SpanKind, caller: Option<&TraceParent>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let trace_id = caller.map_or_else(
            || TraceId(u128::from(ids::random()) << 64 | u128::from(ids::random())),
            |caller| caller.trace_id,
        );
        if !tracer.samples(trace_id, caller) {
            return Self(None);
        }
        let parent = caller.map(|caller| ParentSpan { span_id: caller.span_id, is_remote: true });
        Self::open(tracer, trace_id, parent, Cow::Borrowed(name), kind, Instant::now())
    }

    fn open(
        tracer: &'static Tracer,
        trace_id: TraceId,
        parent: Option<ParentSpan>,
        name: Cow<'static, str>,
        kind: SpanKind,
        since: Instant,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = nanos(now.saturating_sub(since.elapsed()));
        let context = SpanContext { trace_id, span_id: ids::random() };
        let attributes = Vec::new();
        let span =
            FinishedSpan { context, parent, name, kind, start, end: start, attributes, has_failed: false };
        Self(Some(Box::new(OpenSpan { tracer, since, span })))
    }

    /// Whether the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the trace that the span is recorded in.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|open| open.span.context.trace_id)
    }

    /// Changes the name.
    pub fn rename(&mut self, name: String) {
        if let Some(open) = &mut self.0 {
            open.span.name = Cow::Owned(name);
        }
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<AttributeValue>) {
        if let Some(open) = &mut self.0 {
            open.span.attributes.push((key, value.into()));
        }
    }

    /// Sets an attribute, and returns the span.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<AttributeValue>) -> Self {
        self.set(key, value);
        self
    }

    /// Marks the span as failed.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.0 {
            open.span.has_failed = true;
        }
    }

    /// Marks the span as failed if `result` is an error.
    pub fn fail_on<T, E>(&mut self, result: &Result<T, E>) {
        if result.is_err() {
            self.fail();
        }
    }

    /// Makes this span the current one of `work`.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        below(self.0.as_ref().map(|open| open.span.context), work)
    }
}

/// Makes the current span of the calling task the current one of `work`, which another task runs.
pub fn in_current_span<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    let context = if TRACER.get().is_some() { CURRENT.try_with(|current| *current).ok() } else { None };
    below(context, work)
}

fn below<F: Future>(context: Option<SpanContext>, work: F) -> impl Future<Output = F::Output> + use<F> {
    match context {
        None => Either::Left(work),
        // In a box, so that work without a recorded span is not larger.
        Some(context) => Either::Right(Box::pin(CURRENT.scope(context, work))),
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let OpenSpan { tracer, since, mut span } = *open;
            span.end = span.start.saturating_add(nanos(since.elapsed()));
            tracer.queue.push(span);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
