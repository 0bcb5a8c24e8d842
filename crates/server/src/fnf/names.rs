//! Names of executions, and the runs behind them.
//!
//! An execution's name is the `continue_id` of its run: `StartExecution` with a name is a start with a key, a flow's own `ExecutionName` as
//! well, and a key belongs to one flow. So the two APIs cannot start the same thing twice. A run without a key goes by its id, which no
//! client can choose as a name.

use riverrun_kernel::{Definition, DefinitionKind, KeyId, RunId, RunSummary, RunView};
use riverrun_store::RunFilter;

use super::fault::Fault;
use crate::app::App;

/// The namespace of everything that this API shows and starts.
pub(crate) const NAMESPACE: &str = "default";
/// The longest name of a flow or an execution.
const MAX_NAME: usize = 128;

/// What an execution is called.
pub(crate) fn name_of(run: &RunSummary) -> String {
    run.key.as_ref().map_or_else(|| run.id.to_string(), |key| key.id.continue_id.to_string())
}

/// Checks a name that a client chose: `[A-Za-z_][A-Za-z0-9_-]{0,127}`.
pub(crate) fn check_name(parameter: &str, name: &str) -> Result<(), Fault> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if first && rest && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "{parameter} is '{name}': it must begin with a letter or '_', hold letters, digits, '_' and '-' only, and have at most \
         {MAX_NAME} characters."
    )))
}

/// A flow that has not been deleted.
pub(crate) fn flow(app: &App, name: &str) -> Result<Definition, Fault> {
    let found = app.engine.definition(NAMESPACE, name, None);
    found.filter(|found| found.reference.kind == DefinitionKind::Flow).ok_or_else(|| Fault::no_flow(name))
}

/// An execution of a flow, by its name.
pub(crate) async fn execution(app: &App, flow: &str, name: &str) -> Result<RunView, Fault> {
    let unknown = || Fault::no_execution(flow, name);
    let run = run_of(app, flow, name).await?.ok_or_else(unknown)?;
    let view = app.engine.run(run).await.map_err(|error| match error {
        riverrun_engine::EngineError::Refused(riverrun_kernel::Refusal::UnknownRun(_)) => unknown(),
        other => other.into(),
    })?;
    let of = &view.summary.definition;
    let own = *of.namespace == *NAMESPACE && of.kind == DefinitionKind::Flow && *of.name == *flow;
    if own { Ok(view) } else { Err(unknown()) }
}

async fn run_of(app: &App, flow: &str, name: &str) -> Result<Option<RunId>, Fault> {
    if let Ok(run) = name.parse::<RunId>() {
        return Ok(Some(run));
    }
    let key = KeyId {
        namespace: NAMESPACE.into(),
        definition: flow.into(),
        version: "".into(),
        continue_id: name.into(),
    };
    if let Some(key) = app.engine.key(key).await?.filter(|key| !key.purged) {
        return Ok(Some(key.run));
    }
    // The run may be kept longer than its key.
    let filter = RunFilter {
        namespace: NAMESPACE.to_owned(),
        definition: Some(flow.to_owned()),
        kind: Some(DefinitionKind::Flow),
        continue_id: Some(name.to_owned()),
        ..RunFilter::default()
    };
    Ok(app.engine.list(filter, None, 1).await?.items.first().map(|run| run.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        for good in ["a", "_", "Order-1_b", &"x".repeat(128)] {
            assert!(check_name("Name", good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a.b", "a b", "ä", "a/b", &"x".repeat(129)] {
            assert!(check_name("Name", bad).is_err(), "{bad}");
        }
    }
}
