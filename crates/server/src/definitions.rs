//! Definitions: deploying flows, and reading them back.

use axum::Json as Answer;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use riverrun_engine::DeployError;
use riverrun_plan::{Diagnostic as Found, nearest};
use riverrun_wire::http::{
    Code, DefinitionQuery, DefinitionView, Definitions, DeleteDefinitionQuery, Deploy, DeployQuery, Deployed,
    Diagnostic, Severity,
};

use crate::app::{App, Shared, namespace};
use crate::extract::{Params, is_media_type, parse_json, read_body};
use crate::guard::YAML;
use crate::problem::Refused;

/// How much of a long line an excerpt shows.
const MAX_EXCERPT: usize = 160;

/// `POST /v1/definitions`
pub(crate) async fn deploy(State(app): State<Shared>, request: Request) -> Result<Response, Refused> {
    let deploy = read_deploy(&app, request).await?;
    let namespace = namespace(deploy.namespace);
    let deployed = app
        .engine
        .deploy(&namespace, &deploy.name, &deploy.source)
        .await
        .map_err(|error| refuse(error, &deploy.name, &deploy.source))?;
    let status = if deployed.created { StatusCode::CREATED } else { StatusCode::OK };
    let body = Deployed {
        definition: DefinitionView::brief(&deployed.definition),
        created: deployed.created,
        warnings: show(&deployed.warnings, &deploy.source),
    };
    Ok((status, Answer(body)).into_response())
}

/// `GET /v1/definitions`
pub(crate) async fn read(
    State(app): State<Shared>,
    Params(query): Params<DefinitionQuery>,
) -> Result<Response, Refused> {
    let namespace = namespace(query.namespace);
    let Some(name) = query.name else {
        let all = app.engine.definitions(&namespace);
        let items = all.iter().map(DefinitionView::brief).collect();
        return Ok(Answer(Definitions { items }).into_response());
    };
    match app.engine.definition(&namespace, &name, query.version.as_deref()) {
        Some(definition) => Ok(Answer(DefinitionView::full(&definition)).into_response()),
        None => Err(unknown(&app, &namespace, &name, query.version.as_deref())),
    }
}

/// `DELETE /v1/definitions`
pub(crate) async fn delete(
    State(app): State<Shared>,
    Params(query): Params<DeleteDefinitionQuery>,
) -> Result<StatusCode, Refused> {
    let namespace = namespace(query.namespace);
    app.engine.delete_unused(&namespace, &query.name, query.kind, query.force).await?;
    // A flow's runs and keys go in the background.
    crate::fnf::clear(&app);
    Ok(StatusCode::NO_CONTENT)
}

async fn read_deploy(app: &Shared, request: Request) -> Result<Deploy, Refused> {
    if !is_media_type(request.headers(), YAML) {
        return parse_json(&read_body(app, request).await?);
    }
    let (mut parts, body) = request.into_parts();
    let Params(query) = Params::<DeployQuery>::from_request_parts(&mut parts, app).await?;
    let name = query.name.ok_or_else(|| {
        Refused::invalid("name is missing: a YAML body needs it in the query, as in ?name=polling")
    })?;
    let body = read_body(app, Request::from_parts(parts, body)).await?;
    let source = String::from_utf8(body.to_vec()).map_err(|error| {
        Refused::invalid(format!(
            "the body is not UTF-8: the byte at {} is wrong",
            error.utf8_error().valid_up_to()
        ))
    })?;
    Ok(Deploy { name, source, namespace: query.namespace })
}

/// There is no such definition, or no such version of it.
pub(crate) fn unknown(app: &App, namespace: &str, name: &str, version: Option<&str>) -> Refused {
    let all = app.engine.definitions(namespace);
    let names = all.iter().map(|definition| &*definition.reference.name);
    let text = match version {
        Some(version) if names.clone().any(|known| known == name) => {
            format!("definition `{name}` has no version `{version}`")
        }
        _ => {
            let hint =
                nearest(name, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("there is no definition `{name}` in namespace `{namespace}`{hint}")
        }
    };
    Refused::new(Code::UnknownDefinition, text)
}

fn refuse(error: DeployError, name: &str, source: &str) -> Refused {
    match error {
        DeployError::Engine(error) => error.into(),
        DeployError::Invalid(found) => {
            let shown = show(&found, source);
            let first = shown.first().map_or_else(String::new, |first| {
                format!("; the first, in line {}: {}", first.line, first.message)
            });
            let count = found.iter().filter(|found| found.is_error).count();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            Refused::new(Code::InvalidDefinition, format!("`{name}` has {count} {noun}{first}"))
                .with("diagnostics", serde_json::to_value(shown).unwrap_or_default())
        }
    }
}

pub(crate) fn show(found: &[Found], source: &str) -> Vec<Diagnostic> {
    let lines: Vec<&str> = source.lines().collect();
    found
        .iter()
        .map(|found| Diagnostic {
            severity: if found.is_error { Severity::Error } else { Severity::Warning },
            line: found.line,
            column: found.column,
            message: found.message.clone(),
            advice: found.advice.clone(),
            excerpt: excerpt(&lines, found),
        })
        .collect()
}

/// The line, with a mark under the place.
fn excerpt(lines: &[&str], found: &Found) -> String {
    let Some(text) = found.line.checked_sub(1).and_then(|at| lines.get(at)) else {
        return String::new();
    };
    let shown: String = text.chars().take(MAX_EXCERPT).collect();
    let before = found.column.saturating_sub(1);
    let rest = shown.chars().count().checked_sub(before);
    let Some(rest) = rest else {
        return format!("{} | {shown}", found.line);
    };
    let width = found.span.1.saturating_sub(found.span.0);
    let mark = "^".repeat(width.clamp(1, rest.max(1)));
    let gutter = found.line.to_string().len();
    format!("{} | {shown}\n{:gutter$} | {:before$}{mark}", found.line, "", "")
}
