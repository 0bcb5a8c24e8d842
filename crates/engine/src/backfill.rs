//! Backfilling: runs for planned times of a schedule that have none, because it did not exist yet, was paused, or nothing could fire.
//!
//! A planned time has one run, however often a while is asked for: a run that the schedule started is found by where it comes from, and one
//! that a backfill started by its key.

use std::collections::BTreeMap;

use riverrun_kernel::schedule::{FiredBy, Origin, Schedule, ScheduleId};
use riverrun_kernel::{Refusal, RunId, StartKind, Wall};
use riverrun_store::RunFilter;
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::wall;
use crate::start::{Start, StartKey};

/// Planned times of one request.
const MAX_TIMES: usize = 1_000;
/// Runs looked at at a time.
const PAGE: usize = 1_000;
/// The label that a schedule's runs have.
const LABEL: &str = "schedule";

/// A planned time, and its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfilled {
    /// The planned time.
    pub planned: Wall,
    /// Its run, if there is one and it is known.
    pub run: Option<RunId>,
    /// The run is new, or would be.
    pub created: bool,
}

impl Engine {
    /// Starts a run for each planned time from `from` to `to` that has none, the oldest first, side by side whatever the schedule says of
    /// overlaps. Times that the schedule itself will still fire are left to it. With `dry_run` nothing is started.
    pub async fn backfill(
        &self,
        id: ScheduleId,
        from: Wall,
        to: Wall,
        dry_run: bool,
    ) -> Result<Vec<Backfilled>, EngineError> {
        let schedule = self.schedule(id).await?;
        let times = settled_times(&schedule, from, to.min(wall()))?;
        let known = self.runs_of(&schedule, from).await?;
        let mut all: Vec<Backfilled> = times
            .into_iter()
            .map(|planned| {
                let run = known.get(&planned).copied();
                Backfilled { planned, run, created: run.is_none() && !schedule.waiting.contains(&planned) }
            })
            .collect();
        if dry_run {
            return Ok(all);
        }
        let missing: Vec<&mut Backfilled> = all.iter_mut().filter(|time| time.created).collect();
        let starts = missing.iter().map(|time| start(&schedule, time.planned)).collect();
        let answers = self.start_many(starts).await.map_err(|refused| refused.error)?;
        for (time, answer) in missing.into_iter().zip(answers) {
            match answer {
                Ok(started) => {
                    (time.run, time.created) = (Some(started.run), started.kind == StartKind::Created);
                }
                // It was run, and its outcome is gone.
                Err(EngineError::Refused(Refusal::KeyPurged { .. })) => time.created = false,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The runs that the schedule has started for planned times since then. None of them is older than its planned time.
    async fn runs_of(&self, schedule: &Schedule, from: Wall) -> Result<BTreeMap<Wall, RunId>, EngineError> {
        let filter = RunFilter {
            namespace: schedule.id.namespace.to_string(),
            labels: vec![(LABEL.to_owned(), label(schedule))],
            created_from: Some(from),
            ..RunFilter::default()
        };
        let (mut runs, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.list(filter.clone(), after, PAGE).await?;
            for run in page.items {
                let origin = run.origin.filter(|origin| origin.schedule == schedule.id.name);
                if let Some(origin) = origin.filter(|origin| origin.by != FiredBy::Trigger) {
                    runs.insert(origin.planned, run.id);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(runs);
            }
        }
    }
}

/// The planned times of a while that the schedule itself will not fire any more.
fn settled_times(schedule: &Schedule, from: Wall, to: Wall) -> Result<Vec<Wall>, EngineError> {
    if from > to {
        return Err(EngineError::Invalid(
            "the while to backfill ends before it begins, or lies in the future: `from` must be before `to` and before now".to_owned(),
        ));
    }
    let spec = &schedule.spec;
    let when = spec.times(schedule.created).map_err(|error| EngineError::Invalid(error.to_string()))?;
    let own = schedule.next.filter(|_| schedule.paused.is_none()).map(|next| next.at);
    let mut times = Vec::new();
    let mut next = spec.following(&when, Wall(from.0.saturating_sub(1)));
    while let Some(at) = next.filter(|at| *at <= to && own.is_none_or(|own| *at < own)) {
        if times.len() == MAX_TIMES {
            return Err(EngineError::Invalid(format!(
                "there are more than {MAX_TIMES} planned times in this while, the limit max_backfill: backfill it in parts"
            )));
        }
        times.push(at);
        next = spec.following(&when, at);
    }
    Ok(times)
}

/// What the schedule's runs have as the label `schedule`: its owner may have given another.
fn label(schedule: &Schedule) -> String {
    let own = schedule.spec.target.options.labels.get(LABEL);
    own.cloned().unwrap_or_else(|| schedule.id.name.to_string())
}

/// The start of a planned time.
fn start(schedule: &Schedule, planned: Wall) -> Start {
    let target = &schedule.spec.target;
    let mut options = target.options.clone();
    options.labels.insert(LABEL.to_owned(), label(schedule));
    options.origin = Some(Origin { schedule: schedule.id.name.clone(), planned, by: FiredBy::Backfill });
    let version = target.definition.version.to_string();
    Start {
        namespace: schedule.id.namespace.to_string(),
        definition: target.definition.name.to_string(),
        kind: Some(target.definition.kind),
        version: Some(version).filter(|version| !version.is_empty()),
        input: target.input_for(planned),
        run: None,
        key: Some(StartKey::once(key(&schedule.id.name, planned))),
        options,
    }
}

/// The key of a planned time. A long name stands in it as its digest, because a key may have 255 bytes.
fn key(name: &str, planned: Wall) -> String {
    let digest = |text: &str| {
        let bytes = Sha256::digest(text.as_bytes());
        bytes[..8].iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte))
    };
    let name = if name.len() <= 200 { name.to_owned() } else { format!("{:016x}", digest(name)) };
    format!("schedule/{name}@{}", planned.0)
}
