//! Journals and logs of runs.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use riverrun_kernel::{AttemptId, Entry, InvalidId, JournalRow};
use riverrun_wire::http::{Code, JournalQuery, Logs, LogsQuery, time};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::Shared;
use crate::extract::{Params, RunPath};
use crate::paging::MAX_PAGE;
use crate::problem::Refused;

/// A journal entry as it is answered: [`riverrun_wire::http::JournalEntry`], whose values stay the bytes that were recorded, so that
/// no number changes on its way.
#[derive(Serialize)]
pub(crate) struct Line {
    seq: u64,
    at: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    fields: BTreeMap<String, Box<RawValue>>,
}

/// [`riverrun_wire::http::JournalView`] with such lines.
#[derive(Serialize)]
pub(crate) struct Lines {
    items: Vec<Line>,
    next_after: u64,
    complete: bool,
}

/// `GET /v1/runs/{run}/journal`
pub(crate) async fn journal(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<JournalQuery>,
) -> Result<Answer<Lines>, Refused> {
    let after = query.after.unwrap_or(0);
    let limit = crate::paging::page_size(query.limit.or(Some(MAX_PAGE)))?;
    let journal = app.engine.journal(run, after, limit).await?;
    let shown = journal.rows.iter().filter(|row| query.internal || is_shown(row));
    Ok(Answer(Lines {
        items: shown.map(line).collect::<Result<_, _>>()?,
        next_after: journal.rows.last().map_or(after, |row| row.seq),
        complete: journal.complete,
    }))
}

/// `GET /v1/runs/{run}/logs`
pub(crate) async fn logs(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<LogsQuery>,
) -> Result<Answer<Logs>, Refused> {
    let attempt = query.attempt.map(|text| text.parse::<AttemptId>()).transpose();
    let attempt = attempt.map_err(|error: InvalidId| Refused::invalid(error.to_string()))?;
    // Asked for first, so that an unknown run is told from a silent one.
    app.engine.run(run).await?;
    Ok(Answer(app.logs.read(run, attempt)))
}

/// Whether a person wants to see the entry: the interpreter's own state is no news.
pub(crate) fn is_shown(row: &JournalRow) -> bool {
    !matches!(row.entry, Entry::Advanced { .. })
}

/// Brings an entry into the form in which it is answered.
pub(crate) fn line(row: &JournalRow) -> Result<Line, Refused> {
    let fields = fields(&row.entry).map_err(|error| {
        Refused::new(Code::Internal, format!("entry {} of {} cannot be shown: {error}", row.seq, row.run))
    })?;
    Ok(Line { seq: row.seq, at: time(row.at), kind: row.entry.name(), fields })
}

/// The entry's own fields. An entry is written as `"Name"` or `{"Name": {…}}`.
fn fields(entry: &Entry) -> Result<BTreeMap<String, Box<RawValue>>, serde_json::Error> {
    let text = serde_json::to_string(entry)?;
    if text.starts_with('"') {
        return Ok(BTreeMap::new());
    }
    let outer: BTreeMap<String, &RawValue> = serde_json::from_str(&text)?;
    let Some(inner) = outer.into_values().next() else {
        return Ok(BTreeMap::new());
    };
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(inner.get())?;
    // The partition's own clock, whose numbers are no dates: not to be mistaken for one.
    if let Some(ticks) = fields.remove("retry_at") {
        fields.insert("retry_at_ticks".to_owned(), ticks);
    }
    Ok(fields)
}
