//! What all lists have in common: the size of a page, where it goes on, and how its members are written.

use std::sync::Arc;

use axum::response::Response;

use super::{
    App, Problem, access::Access, audit, conditional, cursor::Cursor, customers, select, select::Selection,
};
use crate::{
    feature::{CustomerId, Tier},
    serving::{MemberPage, ReadError, Served},
};

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// The list's name in cursors.
    pub(super) list: String,
    /// What is written before the snapshot, such as `"segment":"loyal",`.
    pub(super) head: String,
    /// What is written behind the total, such as `,"share":0.1`.
    pub(super) figures: String,
    pub(super) served: &'a Served,
    pub(super) members: MemberPage,
}

/// `limit` as a number of members.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(100) };
    let limit = text.parse().ok().filter(|limit| (1..=1_000).contains(limit));
    limit.ok_or_else(|| Problem::bad_parameter("`limit` must be a number from 1 to 1000"))
}

/// The snapshot that a list is read from, and how many members have been given.
pub(super) async fn resume(
    app: &App,
    cursor: Option<&str>,
    list: &str,
) -> Result<(Arc<Served>, u64), Problem> {
    let current = app.serving.current()?;
    let Some(cursor) = cursor else { return Ok((current, 0)) };
    let cursor = Cursor::decode(cursor, list)?;
    let served = app.serving.snapshot(&cursor.snapshot).await.map_err(|error| match error {
        ReadError::UnknownSnapshot(id) => {
            Problem::cursor_gone(format!("snapshot {id} is gone; start the list anew"))
        }
        other => other.into(),
    })?;
    Ok((served, cursor.offset))
}

impl Page<'_> {
    /// Reads what `selection` wants of the members, and writes the page.
    pub(super) async fn answer(
        self,
        app: &App,
        access: &Access,
        selection: &Selection,
    ) -> Result<Response, Problem> {
        let Self { list, head, figures, served, members } = self;
        let MemberPage { customers: members, total, next, tier } = members;
        let (ranks, ids): (Vec<u64>, Vec<CustomerId>) = members.into_iter().unzip();
        let rows = if selection.is_empty() { Vec::new() } else { app.serving.customers(served, &ids).await };
        if let Some(Err(error)) = rows.first().filter(|_| rows.iter().all(Result::is_err)) {
            return Err(error.clone().into());
        }
        let next = next.map(|offset| Cursor { snapshot: served.manifest.id.clone(), list, offset }.encode());
        let mut out = Vec::with_capacity(256 + ids.len() * 128);
        out.push(b'{');
        out.extend_from_slice(head.as_bytes());
        select::freshness(served, &mut out);
        customers::tier(tier, &mut out);
        selection.masked(served, &mut out);
        out.extend_from_slice(format!(",\"total\":{total}{figures},\"next\":").as_bytes());
        match next {
            Some(next) => select::text(&next, &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"customers\":[");
        for (at, (id, rank)) in ids.iter().zip(ranks).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            out.extend_from_slice(format!("{comma}{{\"rank\":{},\"customer_id\":", rank + 1).as_bytes());
            select::text(id.as_str(), &mut out);
            out.extend_from_slice(b",\"views\":");
            match rows.get(at) {
                None => out.extend_from_slice(b"{}"),
                Some(Ok(answer)) if answer.row.is_some() => {
                    let kept = answer.tier == Tier::Memory;
                    answer.row.iter().for_each(|row| selection.write(served, row, kept, &mut out));
                }
                Some(_) => out.extend_from_slice(b"null"),
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        let mut response = conditional::json(served, access, conditional::whole(&rows), out);
        audit::note(&mut response, access, || selection.personal(served), || audit::found(&rows));
        Ok(response)
    }
}
