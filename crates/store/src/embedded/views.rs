//! SQL over a store's rows, for people: views with readable columns, and a statement that can only read.
//!
//! The tables hold sealed values. Functions decode them where a view's column is asked for, so that a query pays for what it reads.

use std::path::Path;
use std::sync::Mutex;

use riverrun_kernel::schedule::ScheduleId;
use riverrun_kernel::{Created, Definition, Failure, Json, KeyId, RunId};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rows::Line;
use super::{fetch, read, rows, schedules, schema, sql};
use crate::{StoreError, codec};

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// SQLite does not accept it.
    #[error("{0}")]
    Sql(String),
    /// It would write, or gives no rows.
    #[error("only a statement that reads is taken: SELECT, VALUES, WITH … SELECT, or EXPLAIN")]
    NoQuery,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What people ask for. A view stands in for the table of its name.
const VIEWS: &str = "
CREATE TEMP VIEW runs AS SELECT
    riverrun_id(run) AS run_id, namespace, definition, kind, riverrun_run(run, summary) ->> 'version' AS version,
    state, waiting AS waiting_for, riverrun_time(created) AS created, riverrun_time(riverrun_run(run, summary) ->> 'started') AS started,
    riverrun_time(ended) AS ended, (ended - created) / 1000.0 AS seconds,
    continue_id, riverrun_run(run, summary) ->> 'generation' AS generation, riverrun_id(parent) AS parent_id,
    riverrun_run(run, summary) ->> 'error' AS error, riverrun_state(run, rest) ->> 'message' AS message,
    riverrun_run(run, summary) -> 'labels' AS labels, riverrun_state(run, rest) -> 'input' AS input,
    riverrun_state(run, rest) -> 'output' AS output, riverrun_state(run, rest) -> 'status' AS status,
    riverrun_state(run, rest) ->> 'entries' AS entries
FROM main.runs;
CREATE TEMP VIEW journal AS SELECT
    riverrun_id(run) AS run_id, line.value ->> 'seq' AS seq, riverrun_time(line.value ->> 'at') AS at,
    line.value ->> 'entry' AS entry, line.value ->> 'step' AS step, line.value ->> 'attempt' AS attempt, line.value -> 'detail' AS detail
FROM main.journal, json_each(riverrun_lines(run, first, last, main.journal.value)) AS line;
CREATE TEMP VIEW steps AS SELECT
    run_id, step, max(CASE entry WHEN 'StepBegun' THEN detail ->> 'path' END) AS path,
    CASE max(CASE entry WHEN 'StepSucceeded' THEN 3 WHEN 'StepFailed' THEN 2 WHEN 'StepCancelled' THEN 1 ELSE 0 END)
        WHEN 3 THEN 'succeeded' WHEN 2 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'open' END AS state,
    max(attempt) AS attempts, min(at) AS begun,
    max(CASE WHEN entry IN ('StepSucceeded', 'StepFailed', 'StepCancelled') THEN at END) AS ended,
    max(CASE entry WHEN 'StepSucceeded' THEN detail -> 'output' END) AS output,
    max(CASE entry WHEN 'StepFailed' THEN detail -> 'failure' END) AS failure
FROM journal WHERE step IS NOT NULL GROUP BY run_id, step;
CREATE TEMP VIEW keys AS SELECT
    namespace, definition, version, continue_id, key ->> 'status' AS state, key ->> 'run' AS run_id, key ->> 'generation' AS generations,
    key ->> 'failures_in_row' AS failures_in_row, key ->> 'hits' AS hits, key ->> 'fingerprint' AS fingerprint,
    riverrun_time(key ->> 'completed') AS completed, key ->> 'purged' AS purged
FROM (SELECT *, riverrun_key(namespace, definition, version, continue_id, value) AS key FROM main.keys);
CREATE TEMP VIEW schedules AS SELECT
    namespace, name, schedule -> 'spec' ->> 'when' AS \"when\", schedule -> 'spec' ->> 'zone' AS zone,
    schedule -> 'spec' -> 'target' -> 'definition' ->> 'name' AS definition, schedule -> 'spec' ->> 'overlap' AS overlap,
    riverrun_time(schedule -> 'next' ->> 'at') AS next, schedule ->> 'paused' IS NOT NULL AS paused,
    riverrun_time(schedule ->> 'cursor') AS settled, schedule ->> 'started' AS started, schedule ->> 'skipped' AS skipped,
    schedule ->> 'missed' AS missed, schedule ->> 'failed' AS failed
FROM (SELECT namespace, name, riverrun_schedule(namespace, name, value) AS schedule FROM main.schedules);
CREATE TEMP VIEW definitions AS SELECT
    namespace, kind, name, version, riverrun_time(riverrun_definition(value) ->> 'deployed') AS deployed,
    riverrun_definition(value) ->> 'source' AS source, riverrun_definition(value) ->> 'deleted' AS deleted
FROM main.definitions;
CREATE TEMP VIEW labels AS SELECT namespace, riverrun_id(run) AS run_id, name, value FROM main.labels;
";

/// Answers a query from the rows of the store in `dir`, which another process may have open. The names of the columns come back.
pub(super) fn query(
    dir: &Path,
    text: &str,
    each: &mut dyn FnMut(&[String], Vec<Value>),
) -> Result<Vec<String>, QueryError> {
    let connection = open(dir)?;
    functions(&connection, dir)?;
    connection.execute_batch(VIEWS).map_err(sql)?;
    let mut statement = connection.prepare(text).map_err(refused)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(QueryError::NoQuery);
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).map_err(refused)?;
    while let Some(row) = rows.next().map_err(refused)? {
        let values = (0..columns.len()).map(|column| row.get_ref(column).map(shown));
        each(&columns, values.collect::<rusqlite::Result<_>>().map_err(refused)?);
    }
    Ok(columns)
}

fn open(dir: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(schema::database(dir), flags).map_err(sql)?;
    connection
        .execute_batch(
            "PRAGMA busy_timeout = 10000; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
        )
        .map_err(sql)?;
    Ok(connection)
}

fn refused(error: rusqlite::Error) -> QueryError {
    match error {
        rusqlite::Error::MultipleStatement => QueryError::NoQuery,
        other => QueryError::Sql(other.to_string()),
    }
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            bytes.iter().fold(String::from("x'"), |text, byte| text + &format!("{byte:02x}")).into()
        }
    }
}

// ---- what the views call

type Answer = Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>;

/// Values that are asked for several times in a row, for several columns, are decoded once.
struct Last {
    key: Vec<u8>,
    text: String,
}

fn functions(connection: &Connection, dir: &Path) -> Result<(), StoreError> {
    define(connection, "riverrun_id", 1, |context| Ok(run_of(context, 0)?.map(|run| run.to_string())))?;
    define(connection, "riverrun_time", 1, |context| {
        let ms: Option<i64> = context.get(0)?;
        Ok(ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|stamp| format!("{stamp:.3}")))
    })?;
    remembered(connection, "riverrun_run", 2, |context| {
        let Some(run) = run_of(context, 0)? else { return Ok(None) };
        let found = read::summary(run, &context.get::<Vec<u8>>(1)?)?;
        let shown = json!({
            "version": found.definition.version,
            "started": found.started,
            "generation": found.key.as_ref().map(|key| key.generation),
            "error": found.error,
            "labels": found.labels,
        });
        Ok(Some(shown.to_string()))
    })?;
    let blobs = Mutex::new(open(dir)?);
    remembered(connection, "riverrun_state", 2, move |context| {
        let Some(run) = run_of(context, 0)? else { return Ok(None) };
        let blobs = blobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Some(state(run, &context.get::<Vec<u8>>(1)?, &blobs)?))
    })?;
    let blobs = Mutex::new(open(dir)?);
    define(connection, "riverrun_lines", 4, move |context| {
        let Some(run) = run_of(context, 0)? else { return Ok(None) };
        let blobs = blobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, last) = (context.get::<i64>(1)? as u64, context.get::<i64>(2)? as u64);
        Ok(Some(lines(run, first, last, &context.get::<Vec<u8>>(3)?, &blobs)?))
    })?;
    remembered(connection, "riverrun_key", 5, |context| {
        let part = |place| context.get::<String>(place);
        let id = KeyId {
            namespace: part(0)?.into(),
            definition: part(1)?.into(),
            version: part(2)?.into(),
            continue_id: part(3)?.into(),
        };
        let found = read::key_row(&id, &context.get::<Vec<u8>>(4)?)?;
        Ok(Some(serde_json::to_string(&found.key)?))
    })?;
    remembered(connection, "riverrun_schedule", 3, |context| {
        let part = |place| context.get::<String>(place);
        let id = ScheduleId { namespace: part(0)?.into(), name: part(1)?.into() };
        let (_, found) = schedules::value(&id, &context.get::<Vec<u8>>(2)?)?;
        Ok(Some(serde_json::to_string(&found)?))
    })?;
    remembered(connection, "riverrun_definition", 1, |context| {
        let found: Definition = read::definition(&context.get::<Vec<u8>>(0)?)?;
        Ok(Some(
            json!({ "deployed": found.deployed, "source": found.source, "deleted": found.deleted })
                .to_string(),
        ))
    })
}

fn define(
    connection: &Connection,
    name: &str,
    arguments: i32,
    function: impl Fn(&Context<'_>) -> Answer + Send + 'static,
) -> Result<(), StoreError> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection
        .create_scalar_function(name, arguments, flags, move |context| {
            function(context).map_err(rusqlite::Error::UserFunctionError)
        })
        .map_err(sql)
}

fn remembered(
    connection: &Connection,
    name: &str,
    arguments: i32,
    function: impl Fn(&Context<'_>) -> Answer + Send + 'static,
) -> Result<(), StoreError> {
    let last = Mutex::new(None::<Last>);
    define(connection, name, arguments, move |context| {
        let mut key = Vec::new();
        for place in 0..context.len() {
            if let ValueRef::Blob(bytes) | ValueRef::Text(bytes) = context.get_raw(place) {
                key.extend(bytes.len().to_le_bytes());
                key.extend(bytes);
            }
        }
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(found) = last.as_ref().filter(|found| found.key == key) {
            return Ok(Some(found.text.clone()));
        }
        let answer = function(context)?;
        *last = answer.clone().map(|text| Last { key, text });
        Ok(answer)
    })
}

fn run_of(context: &Context<'_>, place: usize) -> rusqlite::Result<Option<RunId>> {
    Ok(context.get::<Option<[u8; 16]>>(place)?.map(RunId::from_bytes))
}

/// What is shown of a run's state.
#[derive(Deserialize)]
struct Shown {
    created: Created,
    #[serde(default)]
    outcome: Option<Result<Json, Failure>>,
    #[serde(default)]
    status: Option<Json>,
    #[serde(default)]
    entries: u64,
}

fn state(
    run: RunId,
    sealed: &[u8],
    blobs: &Connection,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let value = codec::unseal(&rows::run_owner(&run.to_bytes(), b"rest"), sealed);
    let value = value.ok_or_else(|| format!("the row of {run} does not match its checksum"))?;
    let (_, found): (u64, Shown) = codec::decode(value, &fetch(blobs))?;
    let (output, message) = match found.outcome {
        Some(Ok(output)) => (Some(output), None),
        Some(Err(failure)) => (None, Some(failure.message)),
        None => (None, None),
    };
    #[derive(serde::Serialize)]
    struct Text {
        input: Json,
        output: Option<Json>,
        message: Option<String>,
        status: Option<Json>,
        entries: u64,
    }
    let text =
        Text { input: found.created.input, output, message, status: found.status, entries: found.entries };
    Ok(serde_json::to_string(&text)?)
}

/// Lines of a journal as an array of objects.
fn lines(
    run: RunId,
    first: u64,
    last: u64,
    sealed: &[u8],
    blobs: &Connection,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let found: Vec<Line> = read::lines(run, first, last, sealed, &fetch(blobs))?;
    let mut shown = Vec::with_capacity(found.len());
    for (seq, at, entry) in found {
        // What has fields is written as an object of one: its name, and the fields.
        let detail = match serde_json::to_value(&entry)? {
            Value::Object(mut fields) => fields.remove(entry.name()).unwrap_or_default(),
            _ => Value::Null,
        };
        // Some entries name a step of the definition instead.
        let field = |name: &str| detail.get(name).and_then(Value::as_u64);
        shown.push(json!({
            "seq": seq, "at": at, "entry": entry.name(), "step": field("step"), "attempt": field("attempt"), "detail": detail,
        }));
    }
    Ok(serde_json::to_string(&shown)?)
}
