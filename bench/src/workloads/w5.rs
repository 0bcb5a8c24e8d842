//! W5: the engine is killed with SIGKILL in the middle of W2, and started again. What was acknowledged and is gone, which steps were
//! executed twice, and when the next answer came.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Answer, Request};
use crate::load::{Otherwise, closed_loop};
use crate::report::{Figure, Report, lower, plain};
use crate::settings::{Settings, Subject};
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{self, Riverrun, Workers};
use crate::workloads::w2::CLIENTS;

/// Runs in a round.
const RUNS: usize = 2_000;
/// Steps of each.
const STEPS: usize = 3;

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(RUNS);
    let mut report = Report::new(format!("W5: kill -9 in the middle of {count} runs of {STEPS} steps"));
    for _ in 0..settings.rounds {
        if settings.wants(Subject::Riverrun) {
            report.add("Riverrun, flow, Python", riverrun(settings, count).await?);
        }
        if settings.wants(Subject::Restate) {
            report.add(restate::NAME, restate(settings, count).await?);
        }
        if settings.wants(Subject::Dbos) {
            report.add(dbos::NAME, dbos(settings, count.min(500)).await?);
        }
    }
    report.finish(settings)
}

/// Answers by request, as they come in.
#[derive(Debug, Clone, Default)]
struct Seen {
    answers: Rc<RefCell<HashMap<usize, Value>>>,
}

impl Seen {
    fn note(&self) -> impl Fn(usize, Answer) + 'static {
        let seen = self.clone();
        move |number, answer| {
            seen.answers.borrow_mut().insert(number, answer.json());
        }
    }

    /// Waits until more than so many were answered.
    async fn more_than(&self, count: usize) {
        while self.answers.borrow().len() <= count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn riverrun(settings: &Settings, count: usize) -> io::Result<Vec<Figure>> {
    fs::write(settings.marks(), "")?;
    let mut riverrun = Riverrun::start(settings, Workers::Python(settings.children)).await?;
    riverrun.deploy("marks", &riverrun::calls("bench/mark", STEPS)).await?;
    let address = riverrun.stand.address;
    let request = |number: usize| {
        Request::post(
            "/v1/runs",
            &json!({"definition": "marks", "wait": "60s", "continue_id": format!("w5-{number}")}),
        )
    };
    let seen = Seen::default();
    let load = closed_loop(address, CLIENTS, count, request, Otherwise::Again, seen.note());
    let kill = async {
        seen.more_than(count / 2).await;
        riverrun.stand.engine.kill();
        let (killed, before) = (Instant::now(), seen.answers.borrow().clone());
        let start = riverrun.restart().await?;
        seen.more_than(before.len()).await;
        Ok::<_, io::Error>((before, killed.elapsed(), start))
    };
    let (load, killed) = tokio::join!(load, kill);
    load?;
    let (before, serving, start) = killed?;
    // The same starts again must find what was acknowledged, whichever side of the kill it is from.
    let again = Seen::default();
    closed_loop(address, CLIENTS, count, request, Otherwise::Stop, again.note()).await?;
    let again = again.answers.take();
    let lost = before.iter().filter(|(number, first)| {
        let now = again.get(number);
        now.is_none_or(|now| now["run_id"] != first["run_id"] || now["state"] != "succeeded")
    });
    let mut figures = vec![lower("serving again after ms", serving.as_secs_f64() * 1e3)];
    figures.push(lower("of these, the server's start", start.as_secs_f64() * 1e3));
    figures.extend(counted(settings, lost.count(), count)?);
    Ok(figures)
}

async fn restate(settings: &Settings, count: usize) -> io::Result<Vec<Figure>> {
    fs::write(settings.marks(), "")?;
    let mut restate = Restate::start(settings).await?;
    let marks = settings.marks().display().to_string();
    let request = move |number: usize| {
        let key = format!("idempotency-key: w5-{number}\r\n");
        Request::post_with("/bench/marks", &json!([number, marks]), &key)
    };
    let seen = Seen::default();
    let load = closed_loop(restate::INGRESS, CLIENTS, count, request.clone(), Otherwise::Again, seen.note());
    let kill = async {
        seen.more_than(count / 2).await;
        restate.stand.engine.kill();
        let (killed, before) = (Instant::now(), seen.answers.borrow().clone());
        restate.restart(settings).await?;
        // Answers that had left before the kill may still come in.
        seen.more_than(before.len() + CLIENTS).await;
        Ok::<_, io::Error>((before, killed.elapsed()))
    };
    let (load, killed) = tokio::join!(load, kill);
    load?;
    let (before, serving) = killed?;
    let again = Seen::default();
    closed_loop(restate::INGRESS, CLIENTS, count, request, Otherwise::Stop, again.note()).await?;
    let again = again.answers.take();
    let lost = before.iter().filter(|(number, first)| again.get(number) != Some(first));
    let mut figures = vec![lower("serving again after ms", serving.as_secs_f64() * 1e3)];
    figures.extend(counted(settings, lost.count(), count)?);
    Ok(figures)
}

async fn dbos(settings: &Settings, count: usize) -> io::Result<Vec<Figure>> {
    fs::write(settings.marks(), "")?;
    let done = settings.work.join("done");
    fs::write(&done, "")?;
    let ended = || fs::read_to_string(&done).map(|text| text.lines().count());
    let command = json!({"do": "marks", "count": count, "marks": settings.marks(), "done": done});
    let mut dbos = Dbos::start(settings)?;
    dbos.program.tell(&command)?;
    while ended()? < count / 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    dbos.program.process.kill();
    let (killed, before) = (Instant::now(), ended()?);
    let mut dbos = Dbos::again(settings)?;
    dbos.program.tell(&command)?;
    // The keys that had ended are acknowledged again at once; the first answer after these is a new one.
    while ended()? <= before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let serving = killed.elapsed();
    dbos.program.answer()?;
    let mut figures = vec![lower("serving again after ms", serving.as_secs_f64() * 1e3)];
    figures.extend(counted(settings, 0, count)?);
    Ok(figures)
}

/// What the steps' own notes say.
fn counted(settings: &Settings, lost: usize, count: usize) -> io::Result<Vec<Figure>> {
    let text = fs::read_to_string(settings.marks())?;
    let mut executions: HashMap<&str, usize> = HashMap::new();
    for line in text.lines() {
        *executions.entry(line).or_default() += 1;
    }
    let twice = executions.values().filter(|times| **times > 1).count();
    Ok(vec![
        lower("acknowledged results lost", lost as f64),
        lower("steps never executed", (count * STEPS) as f64 - executions.len() as f64),
        lower("steps executed twice", twice as f64),
        plain("steps", (count * STEPS) as f64),
    ])
}
