//! Flows: create, update, describe, list, delete.

use std::collections::BTreeMap;
use std::time::Duration;

use riverrun_engine::DeployError;
use riverrun_kernel::{Definition, DefinitionKind};
use riverrun_wire::http::Severity;
use serde_json::{Value, json};

use super::answers::{FACTS, fact, flow};
use super::fault::Fault;
use super::names::{self, NAMESPACE, check_name};
use super::paging;
use super::request::Call;
use crate::app::{App, Shared};
use crate::definitions::show;

/// Between two looks at executions of a deleted flow that have not stopped.
const PAUSE: Duration = Duration::from_secs(1);

/// `CreateFlow`
pub(crate) async fn create(app: &Shared, call: &Call) -> Result<Value, Fault> {
    let name = call.required("Name")?;
    let source = call.required("Definition")?;
    call.required("Type")?;
    call.sent("Description").ok_or_else(|| Fault::missing("Description"))?;
    check_name("Name", name)?;
    let mut facts = facts(call)?;
    // What was not said is kept as it is meant, so that a later default changes nothing.
    facts.entry("fnf.execution_mode".to_owned()).or_insert_with(|| "Standard".to_owned());
    // Between the look whether the name is free and its use nobody else may create it.
    let _alone = app.fnf.flows.lock().await;
    if names::flow(app, name).is_ok() {
        return Err(Fault::flow_exists(name));
    }
    if app.engine.clear_definition(NAMESPACE, name).await? {
        return Err(Fault::still_going(name));
    }
    let definition = deploy(app, name, source, facts).await?;
    Ok(flow(&definition, "ExecutionMode"))
}

/// `UpdateFlow`: what is not sent stays as it is.
pub(crate) async fn update(app: &Shared, call: &Call) -> Result<Value, Fault> {
    let name = call.required("Name")?;
    let changed = facts(call)?;
    let _alone = app.fnf.flows.lock().await;
    let found = names::flow(app, name)?;
    let source = call.sent("Definition").unwrap_or(&found.source);
    let mut facts = found.facts.clone();
    facts.extend(changed);
    let definition = deploy(app, name, source, facts).await?;
    Ok(flow(&definition, "ExternalStorageLocation"))
}

/// `DescribeFlow`
pub(crate) fn describe(app: &App, call: &Call) -> Result<Value, Fault> {
    Ok(flow(&names::flow(app, call.required("Name")?)?, "ExecutionMode"))
}

/// `ListFlows`
pub(crate) fn list(app: &App, call: &Call) -> Result<Value, Fault> {
    let limit = call.number("Limit", 1, 999)?.unwrap_or(60) as usize;
    let after = paging::read(call, paging::FLOWS)?;
    let group = call.given("ResourceGroupId");
    let mut flows: Vec<Definition> = app
        .engine
        .definitions(NAMESPACE)
        .into_iter()
        .filter(|found| found.reference.kind == DefinitionKind::Flow)
        .filter(|found| after.as_deref().is_none_or(|after| *found.reference.name > *after))
        .filter(|found| group.is_none_or(|group| fact(found, "ResourceGroupId") == group))
        .collect();
    flows.sort_by(|a, b| a.reference.name.cmp(&b.reference.name));
    let more = flows.len() > limit;
    flows.truncate(limit);
    let mut body =
        json!({"Flows": flows.iter().map(|found| flow(found, "ExecutionMode")).collect::<Vec<_>>()});
    if let Some(last) = flows.last().filter(|_| more) {
        body["NextToken"] = paging::token(paging::FLOWS, &last.reference.name).into();
    }
    Ok(body)
}

/// `DeleteFlow`: the flow is gone at once, its executions are told to stop and go when they have.
pub(crate) async fn delete(app: &Shared, call: &Call) -> Result<Value, Fault> {
    let name = call.required("Name")?;
    let _alone = app.fnf.flows.lock().await;
    if !app.engine.delete_definition(NAMESPACE, name).await? {
        return Err(Fault::no_flow(name));
    }
    super::schedules::forget(app, name).await?;
    clear(app);
    Ok(json!({}))
}

/// Clears away what deleted flows left, in the background: after a deletion, and at the start what an earlier process did not come to.
pub(crate) fn clear(app: &Shared) {
    let task = app.clone();
    app.tasks.spawn(async move {
        loop {
            let left = task.engine.clear_deleted().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what deleted flows left is cleared away later");
                true
            });
            if !left {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = task.stopping.cancelled() => return,
            }
        }
    });
}

/// The facts that a call sends, checked.
fn facts(call: &Call) -> Result<BTreeMap<String, String>, Fault> {
    if let Some(kind) = call.sent("Type").filter(|kind| !matches!(*kind, "FDL" | "DEFAULT")) {
        return Err(Fault::invalid(format!(
            "Type is '{kind}': flows are written in FDL; the newer language (StateMachine) is another one."
        )));
    }
    if let Some(mode) = call.given("ExecutionMode").filter(|mode| !matches!(*mode, "Standard" | "Express")) {
        return Err(Fault::invalid(format!("ExecutionMode is '{mode}': it must be Standard or Express.")));
    }
    if let Some(text) = call.given("Environment") {
        check_environment(text)?;
    }
    let sent = FACTS.iter().filter_map(|(parameter, fact)| Some((*fact, call.sent(parameter)?)));
    let sent = sent.filter(|(fact, value)| *fact != "fnf.execution_mode" || !value.is_empty());
    Ok(sent.map(|(fact, value)| (fact.to_owned(), value.to_owned())).collect())
}

fn check_environment(text: &str) -> Result<(), Fault> {
    let read: Result<Value, _> = serde_json::from_str(text);
    let well_formed = read.is_ok_and(|value| {
        let text = |variable: &Value, field: &str| variable[field].is_string();
        value.is_object()
            && value["Variables"].as_array().is_some_and(|variables| {
                variables.iter().all(|variable| text(variable, "Name") && text(variable, "Value"))
            })
    });
    if well_formed {
        return Ok(());
    }
    Err(Fault::invalid(r#"Environment must be JSON as in {"Variables": [{"Name": "A", "Value": "b"}]}."#))
}

async fn deploy(
    app: &App,
    name: &str,
    source: &str,
    facts: BTreeMap<String, String>,
) -> Result<Definition, Fault> {
    let deployed = app.engine.deploy_with(NAMESPACE, name, source, facts).await;
    deployed.map(|deployed| deployed.definition).map_err(|error| match error {
        DeployError::Engine(error) => error.into(),
        DeployError::Invalid(found) => {
            let mistakes: Vec<String> = show(&found, source)
                .into_iter()
                .filter(|found| matches!(found.severity, Severity::Error))
                .map(|found| format!("line {}, column {}: {}", found.line, found.column, found.message))
                .collect();
            Fault::invalid(format!("The definition of flow {name} is not valid. {}", mistakes.join("; ")))
        }
    })
}
