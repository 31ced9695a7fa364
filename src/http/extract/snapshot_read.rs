//! A read of a snapshot by a caller: what nearly every handler starts from.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
};

use super::cursor::Cursor;
use crate::{
    http::{App, Problem, access::Access},
    serving::{ReadError, Served},
};

/// A snapshot, the current one at first, and the caller who reads it.
#[derive(Debug)]
pub(crate) struct SnapshotRead {
    pub(crate) app: Arc<App>,
    pub(crate) served: Arc<Served>,
    pub(crate) access: Access,
    /// `If-None-Match` of the request.
    pub(crate) if_none_match: Option<HeaderValue>,
    /// Whether a cursor chose the snapshot.
    is_resumed: bool,
}

impl FromRequestParts<Arc<App>> for SnapshotRead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let access = Access::from_request_parts(parts, app).await?;
        let if_none_match = parts.headers.get(header::IF_NONE_MATCH).cloned();
        let served = app.serving.current()?;
        Ok(Self { app: Arc::clone(app), served, access, if_none_match, is_resumed: false })
    }
}

impl SnapshotRead {
    /// Goes back to the snapshot in which the list named `list` began. Returns the place from which the
    /// list continues.
    pub(crate) async fn resume(&mut self, cursor: Option<&str>, list: &str) -> Result<u64, Problem> {
        let Some(cursor) = cursor else { return Ok(0) };
        let cursor = Cursor::decode(cursor, list)?;
        self.served = self.app.serving.snapshot(&cursor.snapshot).await.map_err(gone)?;
        self.is_resumed = true;
        Ok(cursor.place(self.served.erased_count()))
    }

    /// Returns the problem of a page that cannot be read. A snapshot that a cursor keeps open may have been
    /// removed meanwhile. The current snapshot may have been replaced by one without erased customers, which
    /// the next poll of the lake opens.
    pub(crate) async fn lost(&self, error: ReadError) -> Problem {
        match self.app.serving.removed(&self.served, error).await {
            ReadError::UnknownSnapshot(id) if !self.is_resumed => {
                Problem::unavailable(format!("snapshot {id} is being replaced; try again later"))
            }
            error => gone(error),
        }
    }
}

/// Returns the problem of a list whose snapshot cannot be read.
fn gone(error: ReadError) -> Problem {
    match error {
        ReadError::UnknownSnapshot(id) => {
            Problem::cursor_gone(format!("snapshot {id} was removed; start the list from the beginning"))
        }
        other => other.into(),
    }
}
