//! Pictures: of a flow, and of one of its runs, whose journal colours it.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use riverrun_kernel::{Definition, DefinitionKind, RunId, Wall};
use riverrun_plan::{Flow, Format};
use riverrun_wire::http::{Code, DefinitionGraphQuery, GraphFormat, GraphQuery};

use crate::app::{Shared, namespace};
use crate::definitions::unknown;
use crate::extract::{Params, RunPath};
use crate::paging::MAX_PAGE;
use crate::problem::Refused;

/// A picture loads and runs nothing; its colours are in a style sheet of its own.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// `GET /v1/runs/{run}/graph`
pub(crate) async fn of_run(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<GraphQuery>,
) -> Result<Response, Refused> {
    let reference = app.engine.run(run).await?.summary.definition;
    if reference.kind != DefinitionKind::Flow {
        return Err(Refused::invalid(format!(
            "{run} is a run of the {} `{}`: only runs of flows have a picture",
            reference.kind, reference.name
        )));
    }
    let found = app.engine.definition(&reference.namespace, &reference.name, Some(&reference.version));
    let definition = found
        .ok_or_else(|| unknown(&app, &reference.namespace, &reference.name, Some(&reference.version)))?;
    let flow = parse(&definition)?;
    let mut trace = flow.trace();
    let mut after = 0;
    loop {
        let part = app.engine.journal(run, after, MAX_PAGE).await?;
        let Some(last) = part.rows.last() else { break };
        after = last.seq;
        part.rows.iter().for_each(|row| trace.take(row));
    }
    let overlay = trace.overlay(&run.to_string(), Some(now(run)));
    let format = query.format.unwrap_or_default();
    Ok(answer(format, flow.draw(kind(format), &reference.name, Some(&overlay))))
}

/// `GET /v1/definitions/graph`
pub(crate) async fn of_definition(
    State(app): State<Shared>,
    Params(query): Params<DefinitionGraphQuery>,
) -> Result<Response, Refused> {
    let namespace = namespace(query.namespace);
    let found = app.engine.definition(&namespace, &query.name, query.version.as_deref());
    let definition = found.ok_or_else(|| unknown(&app, &namespace, &query.name, query.version.as_deref()))?;
    let format = query.format.unwrap_or_default();
    Ok(answer(format, parse(&definition)?.draw(kind(format), &query.name, None)))
}

/// A deployed flow was checked; an older server may have taken what this one does not.
pub(crate) fn parse(definition: &Definition) -> Result<Flow, Refused> {
    match Flow::parse(&definition.source) {
        Ok((flow, _)) => Ok(flow),
        Err(found) => {
            let name = &definition.reference.name;
            let first = found.iter().find(|found| found.is_error).map_or("", |found| &found.message);
            Err(Refused::new(Code::InvalidDefinition, format!("`{name}` cannot be read any more: {first}")))
        }
    }
}

/// When the picture is drawn: what is open has lasted until now, and never less than nothing.
fn now(run: RunId) -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Wall(since.map_or_else(|_| run.wall_ms() as i64, |since| since.as_millis() as i64))
}

fn kind(format: GraphFormat) -> Format {
    match format {
        GraphFormat::Svg => Format::Svg,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Mermaid => Format::Mermaid,
    }
}

fn answer(format: GraphFormat, text: String) -> Response {
    let media = match format {
        GraphFormat::Svg => "image/svg+xml",
        GraphFormat::Dot => "text/vnd.graphviz; charset=utf-8",
        GraphFormat::Mermaid => "text/plain; charset=utf-8",
    };
    let headers = [(CONTENT_TYPE, media), (CONTENT_SECURITY_POLICY, CSP), (CACHE_CONTROL, "no-store")];
    (headers, text).into_response()
}
