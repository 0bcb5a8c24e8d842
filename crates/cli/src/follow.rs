//! Follows a run to its end: tells its steps on stderr, survives a server that goes away and comes back.

use std::time::{Duration, Instant};

use reqwest::Response;
use riverrun_kernel::{RunId, State, WaitKind};
use riverrun_wire::http::Run;

use crate::client::{Client, is_worth_another_try};
use crate::entries::Part;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::Session;
use crate::printer::{Printer, dim};
use crate::show;
use crate::story::Story;
use crate::time;

/// How long a server may be gone before following ends.
const PATIENCE: Duration = Duration::from_mins(1);
/// So long without news, and a person wants to know what the run waits for.
const QUIET: Duration = Duration::from_secs(2);
/// A stream that says nothing for so long is not trusted: the journal is read again.
const SILENCE: Duration = Duration::from_secs(15);

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// The run has ended.
    Closed(Box<Run>),
    /// It cannot go on without a person.
    Repair(Box<Run>),
    /// The time to follow was over. What it does or waits for is told, where the server still told it.
    StillOpen(Option<String>),
    /// Ctrl-C, or a request to end.
    Interrupted,
}

/// Reads a journal as it grows.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    run: RunId,
    after: u64,
    internal: bool,
    stream: Option<Response>,
}

impl Follower {
    /// From the first entry on.
    pub fn new(client: &Client, run: RunId, internal: bool) -> Self {
        Follower { internal, ..Follower::from(client, run, 0) }
    }

    /// From after an entry on.
    pub fn from(client: &Client, run: RunId, after: u64) -> Self {
        Follower { client: client.clone(), run, after, internal: false, stream: None }
    }

    /// What came since the last call; waits for it. A part that is `complete` is the last one.
    pub async fn next(&mut self) -> Result<Part, CliError> {
        loop {
            let part = self.client.journal(self.run, self.after, self.internal).await?;
            if part.next_after > self.after || part.complete {
                self.after = part.next_after;
                return Ok(part);
            }
            self.wake().await?;
        }
    }

    /// Waits for a sign that the journal has grown beyond `after`. The stream begins there, so that nothing is missed
    /// between the reading and the listening.
    pub async fn wake(&mut self) -> Result<(), CliError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.client.events(self.run, self.after).await?,
        };
        if let Ok(Ok(Some(_))) = tokio::time::timeout(SILENCE, stream.chunk()).await {
            self.stream = Some(stream);
        }
        Ok(())
    }
}

/// Follows a run until it ends, at most so long.
pub async fn follow(
    printer: &Printer,
    session: &Session,
    run: RunId,
    limit: Option<Duration>,
) -> Result<Followed, CliError> {
    let interrupted = crate::signals::end_requested();
    let limit = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let followed = tokio::select! {
        followed = tell(printer, session, run) => followed,
        () = limit => {
            let doing = doing(&session.client, run).await;
            Ok(Followed::StillOpen(doing.map(|(what, until)| what + &until)))
        }
        () = interrupted => Ok(Followed::Interrupted),
    };
    printer.end_live();
    followed
}

async fn tell(printer: &Printer, session: &Session, run: RunId) -> Result<Followed, CliError> {
    let client = &session.client;
    let mut waits = Waits::default();
    let mut follower = Follower::new(client, run, false);
    let mut story = Story::default();
    let mut gone_since: Option<Instant> = None;
    loop {
        let part = match waits.told_during(printer, client, run, follower.next()).await {
            Ok(part) => part,
            Err(error) if session.is_left(&error) => return Err(error),
            Err(error) if is_worth_another_try(&error) => {
                let since = *gone_since.get_or_insert_with(|| {
                    printer.note(&format!("{}; trying again for {} s", error.message, PATIENCE.as_secs()));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(CliError {
                        next: format!(
                            "{} goes on when the server is back",
                            client.command(&format!("runs attach {run}"))
                        ),
                        ..error
                    });
                }
                follower.stream = None;
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if gone_since.take().is_some() {
            printer.note("the server is back");
        }
        let mut suspended = false;
        for entry in &part.items {
            let line = story.tell(entry);
            suspended |= line.kind == "RunSuspended";
            if line.is_news {
                printer.end_live();
                printer.note(&line.followed());
            }
        }
        if part.complete || suspended {
            let run = Box::new(client.run(run).await?);
            if run.item.state.is_closed() {
                return Ok(Followed::Closed(run));
            }
            if run.item.waiting.as_ref().is_some_and(|waiting| waiting.kind == WaitKind::Repair) {
                return Ok(Followed::Repair(run));
            }
        }
    }
}

/// What was told of a run that does not move.
#[derive(Debug, Default)]
struct Waits {
    told: String,
}

impl Waits {
    /// Waits for something. Meanwhile a terminal shows all the time what the run does; elsewhere it is told once per change, and only
    /// when there was no news for a while.
    async fn told_during<T>(
        &mut self,
        printer: &Printer,
        client: &Client,
        run: RunId,
        work: impl Future<Output = T>,
    ) -> T {
        if printer.is_quiet() {
            return work.await;
        }
        let tell = async {
            // A run that moves on at once needs no line.
            tokio::time::sleep(if printer.is_live() { Duration::from_millis(300) } else { QUIET }).await;
            loop {
                self.tell(printer, client, run).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = tell => std::future::pending().await,
        }
    }

    async fn tell(&mut self, printer: &Printer, client: &Client, run: RunId) {
        if printer.is_live() {
            if let Ok(run) = client.run(run).await {
                let doing = match (&run.item.waiting, run.steps.iter().find(|step| step.running)) {
                    (Some(waiting), _) => format!("waits for {}", show::waiting(waiting, time::now())),
                    (None, Some(step)) => format!("runs {} ({})", step.path, step.target),
                    (None, None) => run.item.state.to_string(),
                };
                printer.live(&format!("{:>10}  {doing}", ""));
            }
            return;
        }
        match doing(client, run).await {
            Some((what, until)) if what != self.told => {
                printer.note(&dim(&format!("{:>8}  {what}{until}", "")));
                self.told = what;
            }
            _ => {}
        }
    }
}

/// What a run waits for, or who executes it, and until when; that may move by a little, as one clock does against another. Nothing of a
/// run that has ended.
async fn doing(client: &Client, run: RunId) -> Option<(String, String)> {
    let run = client.run(run).await.ok()?;
    if run.item.state.is_closed() {
        return None;
    }
    if let Some(waiting) = &run.item.waiting {
        let (what, until) = show::waiting_until(waiting);
        return Some((format!("waits for {what}"), until));
    }
    let Some(step) = run.steps.iter().find(|step| step.running) else {
        return Some((format!("is {}", run.item.state), String::new()));
    };
    let attempt = format!("{}.{}.", run.item.run_id, step.id);
    let workers = client.workers().await.map(|workers| workers.items).unwrap_or_default();
    let place = workers.iter().find(|worker| worker.attempts.iter().any(|name| name.starts_with(&attempt)));
    let place = place.map_or_else(
        || "a worker that is not connected now".to_owned(),
        |worker| format!("the worker {}", worker.name),
    );
    let attempt = format!("attempt {} of {} ({})", step.attempts, step.path, step.target);
    Some((format!("{attempt} is out at {place}"), String::new()))
}

/// Prints how a run ended, and says so with the exit code. `functions` is what has to be added to the command that goes on.
pub fn finish(
    printer: &Printer,
    session: &Session,
    followed: Followed,
    run: RunId,
    functions: &str,
) -> Result<Exit, CliError> {
    let command = |command: &str| session.client.command(command);
    let go_on = format!("{} goes on with it", command(&format!("runs attach {run}{functions}")));
    let (view, exit) = match followed {
        Followed::Closed(view) => {
            let exit = Exit::of(view.item.state);
            (view, exit)
        }
        Followed::Repair(view) => (view, Exit::Repair),
        Followed::StillOpen(doing) => {
            let doing = doing.map(|doing| format!(": it {doing}")).unwrap_or_default();
            let open = CliError::failed(format!("{run} has not ended yet{doing}"), go_on);
            return Err(CliError { exit: Exit::StillOpen, ..open });
        }
        Followed::Interrupted => {
            let fate = if session.is_own() { "is kept as it stands" } else { "goes on at the server" };
            let interrupted = CliError::failed(format!("interrupted; {run} {fate}"), go_on);
            return Err(CliError { exit: Exit::Interrupted, ..interrupted });
        }
    };
    if printer.is_json() {
        printer.json(&view);
    } else if let Some(output) = &view.output {
        printer.text(output.get());
    }
    match exit {
        Exit::Ok => Ok(exit),
        _ if printer.is_json() => Ok(exit),
        _ => Err(CliError { exit, ..how_it_ended(&view, &session.client) }),
    }
}

/// Errors that another try of the same step cannot mend: its input is what it is.
const SETTLED: &[&str] = &["InvalidInput", "FnF.InvalidInput"];

/// The error of a run that did not succeed.
fn how_it_ended(run: &Run, client: &Client) -> CliError {
    let id = run.item.run_id;
    let state = run.item.state;
    let journal = format!("{} tells what happened", client.command(&format!("runs journal {id}")));
    let message = match (&run.error, &run.item.waiting) {
        (Some(error), _) if error.message.is_empty() => format!("{id} {state} with {}", error.kind),
        (Some(error), _) => format!("{id} {state} with {}: {}", error.kind, error.message),
        (None, Some(waiting)) => format!("{id} is suspended for repair: {}", waiting.name),
        (None, None) => format!("{id} {state}"),
    };
    let resume = client.command(&format!("runs resume {id}"));
    let is_settled = run.error.as_ref().is_some_and(|error| SETTLED.contains(&error.kind.as_str()));
    let next = match state {
        State::Failed if is_settled => format!("{journal}; start it again with an input that fits"),
        State::Failed | State::TimedOut => format!("{journal}; {resume} tries the failed step again"),
        State::Suspended => format!("{journal}; when it is mended, {resume} goes on"),
        _ => journal,
    };
    CliError::failed(message, next)
}
