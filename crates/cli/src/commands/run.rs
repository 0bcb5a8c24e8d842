//! `riverrun run`: start something, follow it, print its output.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use riverrun_kernel::driver::is_address;
use riverrun_kernel::{DefinitionKind, Json, KeyStatus, RunId, Slot};
use riverrun_plan::nearest;
use riverrun_wire::http::{Duration as WireDuration, KeyTtl, Retries, Run as RunAnswer, Start};

use crate::args::{self, KeyArgs, Run};
use crate::data_dir::Folders;
use crate::error::CliError;
use crate::executor::Executor;
use crate::exit::Exit;
use crate::flow_file::{self, FlowFile, Subject};
use crate::follow::{Followed, finish, follow};
use crate::house::{self, Session};
use crate::input;
use crate::printer::{Printer, dim};
use crate::time;
use crate::values::Retention;

/// What is run, checked as far as it can be without a server.
struct Plan {
    definition: String,
    /// `None` where the server is to say what has this name.
    kind: Option<DefinitionKind>,
    /// The flow's text, where it is a flow.
    source: Option<FlowFile>,
    /// Where its functions are.
    functions: PathBuf,
    /// Which functions it calls.
    calls: Vec<String>,
    input: Json,
    /// The run, once one was started or found.
    begun: Cell<Option<RunId>>,
    /// The run that the key stood for before, if that had ended.
    ended: Cell<Option<RunId>>,
}

/// Runs a flow or a task to its end.
pub async fn run(printer: &Printer, args: Run) -> Result<Exit, CliError> {
    let plan = plan(printer, &args)?;
    // A start that may have been answered is repeated only where its run is known: `--force` would begin another one.
    let can_go_on = || plan.begun.get().is_some();
    house::work(printer, &args.target, &args.node, can_go_on, async |session| {
        serve_and_start(printer, &args, &plan, session).await
    })
    .await
}

/// Everything that can be wrong before anything is touched.
fn plan(printer: &Printer, args: &Run) -> Result<Plan, CliError> {
    if args.key.continue_id.as_deref() == Some("") {
        return Err(CliError::usage(
            "--continue-id is empty",
            "give it 1 to 255 bytes (is the variable set that it comes from?), or leave the option away to run without a key",
        ));
    }
    let subject = Subject::parse(&args.file)?;
    let input = input::read(&args.input)?;
    match subject {
        Subject::Flow { file, name } => {
            let flow = flow_file::load(printer, &file)?;
            if !input.get().starts_with('{') {
                return Err(CliError::usage(
                    format!("the input of a flow is a JSON object, and this is {}", kind_of(&input)),
                    r#"wrap it, as in --input '{"value": 7}'"#,
                ));
            }
            let beside = file.parent().unwrap_or(Path::new("")).join("functions");
            Ok(Plan {
                definition: name,
                kind: Some(DefinitionKind::Flow),
                // Addresses are called by the server.
                calls: flow.flow.functions().into_iter().filter(|name| !is_address(name)).collect(),
                source: Some(flow),
                functions: args.functions.clone().unwrap_or(beside),
                input,
                begun: Cell::default(),
                ended: Cell::default(),
            })
        }
        Subject::Task { file, name } => {
            let name = name.ok_or_else(|| {
                CliError::usage(
                    format!("{} may have many tasks", file.display()),
                    format!("name one: {}:TASK", file.display()),
                )
            })?;
            if !file.is_file() {
                return Err(CliError::usage(
                    format!("there is no file {}", file.display()),
                    "check the path",
                ));
            }
            Ok(Plan {
                calls: vec![name.clone()],
                definition: name,
                kind: Some(DefinitionKind::Task),
                source: None,
                functions: args.functions.clone().unwrap_or(file),
                input,
                begun: Cell::default(),
                ended: Cell::default(),
            })
        }
        Subject::Deployed(name) => Ok(Plan {
            definition: name,
            kind: None,
            source: None,
            functions: PathBuf::new(),
            // Whoever announced or deployed it sees to what it calls.
            calls: Vec::new(),
            input,
            begun: Cell::default(),
            ended: Cell::default(),
        }),
    }
}

fn kind_of(input: &Json) -> &'static str {
    match input.get().as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

async fn serve_and_start(
    printer: &Printer,
    args: &Run,
    plan: &Plan,
    session: &Session,
) -> Result<Exit, CliError> {
    if plan.kind.is_none() && session.is_own() {
        let name = &plan.definition;
        return Err(CliError::usage(
            format!(
                "there is no file {name}, and no server runs here that could have something of this name"
            ),
            "name a flow (flow.yaml) or a task of a file (jobs.py:TASK); or start a server: `riverrun server`, `riverrun dev`",
        ));
    }
    if plan.begun.get().is_none()
        && let Some(answer) = stored(args, plan, session).await?
    {
        return show(printer, args, plan, session, answer);
    }
    let mut executor = executor(printer, args, plan, session).await?;
    let done = tokio::select! {
        done = start_and_follow(printer, args, plan, session) => done,
        error = Executor::gave_up(&mut executor) => Err(error),
    };
    if let Some(executor) = executor {
        executor.stop().await;
    }
    done
}

/// The answer of a start that nobody has to execute anything for: its key's run has ended, and the start asks for what is stored.
async fn stored(args: &Run, plan: &Plan, session: &Session) -> Result<Option<RunAnswer>, CliError> {
    let Some(continue_id) = args.key.continue_id.as_deref().filter(|_| !args.key.force) else {
        return Ok(None);
    };
    let key = match session.client.key(&plan.definition, continue_id).await {
        Ok(key) => key,
        Err(error) if error.code.as_deref() == Some("unknown_key") => return Ok(None),
        Err(error) => return Err(error),
    };
    if key.state != KeyStatus::InFlight {
        plan.ended.set(Some(key.run_id));
    }
    let is_stored = match key.state {
        KeyStatus::Succeeded => args.key.on_success != Some(args::OnSuccess::Rerun),
        KeyStatus::Failed => args.key.on_failure == Some(args::OnFailure::Return),
        KeyStatus::Cancelled => {
            matches!(args.key.on_failure, None | Some(args::OnFailure::Return))
        }
        KeyStatus::InFlight => false,
    };
    if !is_stored {
        return Ok(None);
    }
    // The key may be forgotten in between. Then this begins a run, which the start that follows joins.
    let answer = begin(args, plan, session).await?;
    Ok(Some(answer).filter(|answer| answer.item.state.is_closed()))
}

/// Starts to serve the functions, and makes sure that somebody serves each one that is called.
async fn executor(
    printer: &Printer,
    args: &Run,
    plan: &Plan,
    session: &Session,
) -> Result<Option<Executor>, CliError> {
    // What the configuration gives an address needs no folder.
    let served = if session.is_own() { served(session).await? } else { BTreeSet::new() };
    let wanted = !args.no_worker && plan.calls.iter().any(|name| !served.contains(name));
    let here = wanted && plan.functions.exists();
    if wanted && !here && (session.is_own() || args.functions.is_some()) {
        return Err(CliError::usage(
            format!(
                "there is no folder {} with the functions that the flow calls: {}",
                plan.functions.display(),
                plan.calls.join(", ")
            ),
            "put them there as SERVICE/FUNCTION.py with handler(event, context), or name their folder with --functions",
        ));
    }
    let executor = if here {
        Some(
            Executor::start(
                printer,
                &session.client,
                &args.code,
                &plan.functions,
                session.data.as_deref(),
                session.takes_workers_along(),
                true,
            )
            .await?,
        )
    } else {
        None
    };
    if let Err(error) = check_functions(args, plan, session, executor.as_ref()).await {
        if let Some(executor) = executor {
            executor.stop().await;
        }
        return Err(error);
    }
    if let (Some(data), true) = (&session.data, here) {
        Folders::remember(data, &plan.definition, &plan.functions)?;
    }
    Ok(executor)
}

/// What workers of the server serve, the server itself among them.
async fn served(session: &Session) -> Result<BTreeSet<String>, CliError> {
    let workers = session.client.workers().await?;
    Ok(workers.items.into_iter().flat_map(|worker| worker.functions).collect())
}

async fn check_functions(
    args: &Run,
    plan: &Plan,
    session: &Session,
    executor: Option<&Executor>,
) -> Result<(), CliError> {
    let mut served = served(session).await?;
    served.extend(executor.map(Executor::functions).unwrap_or_default());
    let missing: Vec<_> = plan.calls.iter().filter(|name| !served.contains(*name)).collect();
    if missing.is_empty() || args.no_worker {
        return Ok(());
    }
    if let Some((name, file)) = without_handler(plan, &missing) {
        return Err(CliError::usage(
            format!("the flow calls `{name}`, and {} has no `handler` that can be called", file.display()),
            "write `def handler(event, context)` in it, or mend the name in the flow",
        ));
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|name| match nearest(name, served.iter().map(String::as_str)) {
            Some(other) => format!("`{name}` (is `{other}` meant?)"),
            None => format!("`{name}`"),
        })
        .collect();
    let place = plan.functions.display();
    let served = if served.is_empty() {
        "has none".to_owned()
    } else {
        format!("has {}", served.iter().cloned().collect::<Vec<_>>().join(", "))
    };
    let missing = lines.join(", ");
    let (what, how) = match plan.kind {
        Some(DefinitionKind::Flow) => (
            format!("the flow calls {missing}, which nobody serves; the folder {place} {served}"),
            format!(
                "add {place}/SERVICE/FUNCTION.py with handler(event, context), or mend the name in the flow"
            ),
        ),
        _ => (
            format!("there is no task {missing}; {place} {served}"),
            format!("put @riverrun.task on the function in {place}, or mend the name"),
        ),
    };
    Err(CliError::usage(what, how))
}

/// A called function whose file is there and does not have it.
fn without_handler<'p>(plan: &Plan, missing: &[&'p String]) -> Option<(&'p str, PathBuf)> {
    let mut files = missing.iter().map(|name| (name.as_str(), plan.functions.join(format!("{name}.py"))));
    files.find(|(name, file)| name.contains('/') && file.is_file())
}

async fn start_and_follow(
    printer: &Printer,
    args: &Run,
    plan: &Plan,
    session: &Session,
) -> Result<Exit, CliError> {
    let answer = match plan.begun.get() {
        Some(run) => RunAnswer { attached: true, ..session.client.run(run).await? },
        None => begin(args, plan, session).await?,
    };
    let run = answer.item.run_id;
    plan.begun.set(Some(run));
    if answer.item.state.is_closed() {
        return show(printer, args, plan, session, answer);
    }
    printer.note(&dim(&opening(plan, &answer)));
    let followed = follow(printer, session, run, args.wait.wait).await?;
    finish(printer, session, followed, run, &functions_option(args, plan, session))
}

/// Makes the definition known and starts a run of it, or finds one.
async fn begin(args: &Run, plan: &Plan, session: &Session) -> Result<RunAnswer, CliError> {
    if let Some(flow) = &plan.source {
        session.client.deploy(&plan.definition, &flow.source).await?;
    }
    session.client.start(&start(args, plan)?).await
}

/// Shows a run that had ended when it was found.
fn show(
    printer: &Printer,
    args: &Run,
    plan: &Plan,
    session: &Session,
    answer: RunAnswer,
) -> Result<Exit, CliError> {
    let run = answer.item.run_id;
    printer.note(&dim(&opening(plan, &answer)));
    let found = Followed::Closed(Box::new(answer));
    finish(printer, session, found, run, &functions_option(args, plan, session))
}

fn opening(plan: &Plan, answer: &RunAnswer) -> String {
    let run = answer.item.run_id;
    let name = &plan.definition;
    match (answer.reused, answer.attached, answer.item.continue_id.as_deref()) {
        (true, _, Some(key)) => format!("{name} under `{key}` has a stored result: {run}"),
        (true, ..) => format!("{name} has a stored result: {run}"),
        (_, true, Some(key)) => format!("{name} under `{key}` goes on: {run}"),
        (_, true, None) => format!("{name} goes on: {run}"),
        (.., Some(key)) if plan.ended.get() == Some(run) => {
            format!("{name} under `{key}` was reopened, finished steps are kept: {run}")
        }
        _ => format!("{name} started: {run}"),
    }
}

/// What `attach` has to be told to serve the functions again: on an own directory it knows their folder by itself.
fn functions_option(args: &Run, plan: &Plan, session: &Session) -> String {
    match (&args.functions, session.is_own()) {
        (Some(_), false) => format!(" --functions {}", plan.functions.display()),
        _ => String::new(),
    }
}

fn start(args: &Run, plan: &Plan) -> Result<Start, CliError> {
    let key: &KeyArgs = &args.key;
    let continue_id = key.continue_id.clone();
    let ms = |duration: std::time::Duration| {
        WireDuration::from_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    };
    let kept = |ttl: Retention| match ttl {
        Retention::For(duration) => KeyTtl::For(ms(duration)),
        Retention::Forever => KeyTtl::Forever,
    };
    // Without a key the run gets an id of ours, so that a start whose answer was lost can be repeated.
    let is_unique = args.task.unique || args.task.unique_key.is_some();
    let run_id = if continue_id.is_some() || is_unique { None } else { Some(make_run_id()?) };
    Ok(Start {
        definition: plan.definition.clone(),
        kind: plan.kind,
        namespace: Some(args.target.namespace.clone()),
        input: Some(plan.input.clone()),
        run_id,
        continue_id,
        on_success: key.on_success.map(on_success),
        on_failure: key.on_failure.map(on_failure),
        on_running: key.on_running.map(on_running),
        on_input: key.on_input.map(on_input),
        allow_new_input: key.allow_new_input,
        rerun_purged: key.on_success == Some(args::OnSuccess::Rerun),
        force: key.force,
        ttl: key.ttl.map(kept),
        labels: args.labels.iter().cloned().collect(),
        timeout: args.timeout.map(ms),
        queue: args.task.queue.clone(),
        priority: args.task.priority,
        delay: args.task.delay.map(ms),
        run_at: args.task.run_at.clone(),
        queue_ttl: args.task.queue_ttl.map(ms),
        retries: args.task.retries.map(Retries::Max),
        max_crashes: args.task.max_crashes,
        at_most_once: args.task.at_most_once.then_some(true),
        unique: args.task.unique,
        unique_key: args.task.unique_key.clone(),
        concurrency_key: args.task.concurrency_key.clone(),
        max_running: args.task.max_running,
        rate: args.task.rate.map(|rate| rate.to_string()),
        result_ttl: args.task.result_ttl.map(kept),
        failure_ttl: args.task.failure_ttl.map(kept),
        callback_url: args.task.callback_url.clone(),
        ..Start::default()
    })
}

fn make_run_id() -> Result<RunId, CliError> {
    let mut random = [0_u8; 10];
    getrandom::fill(&mut random).map_err(|error| {
        CliError::failed(format!("the system gives no random bytes: {error}"), "report this")
    })?;
    let [a, b, rest @ ..] = random;
    Ok(RunId::new(
        time::now().0.max(0).unsigned_abs(),
        Slot(u16::from_be_bytes([a, b])),
        u64::from_be_bytes(rest),
    ))
}

fn on_success(what: args::OnSuccess) -> riverrun_kernel::OnSuccess {
    match what {
        args::OnSuccess::Reuse => riverrun_kernel::OnSuccess::Reuse,
        args::OnSuccess::Rerun => riverrun_kernel::OnSuccess::Rerun,
        args::OnSuccess::Reject => riverrun_kernel::OnSuccess::Reject,
    }
}

fn on_failure(what: args::OnFailure) -> riverrun_kernel::OnFailure {
    match what {
        args::OnFailure::Rerun => riverrun_kernel::OnFailure::Rerun,
        args::OnFailure::Resume => riverrun_kernel::OnFailure::Resume,
        args::OnFailure::Return => riverrun_kernel::OnFailure::Return,
    }
}

fn on_running(what: args::OnRunning) -> riverrun_kernel::OnRunning {
    match what {
        args::OnRunning::Attach => riverrun_kernel::OnRunning::Attach,
        args::OnRunning::Reject => riverrun_kernel::OnRunning::Reject,
        args::OnRunning::Restart => riverrun_kernel::OnRunning::Restart,
    }
}

fn on_input(what: args::OnInput) -> riverrun_kernel::OnInput {
    match what {
        args::OnInput::Refuse => riverrun_kernel::OnInput::Refuse,
        args::OnInput::Ignore => riverrun_kernel::OnInput::Ignore,
    }
}
