//! One message: from its id to the outcome in its hash. Every step may be done again after a crash, and none of them is done twice in the
//! record.

use std::fmt::Write as _;

use riverrun_engine::{EngineError, Start, StartKey, Started};
use riverrun_kernel::{
    DefinitionKind, Entry, Key, KeyId, Labels, Refusal, RunId, RunOptions, RunView, StartKind, TaskOptions,
    Ttl,
};
use riverrun_wire::baichuan::{self, Status, TaskInfo};
use sha2::{Digest, Sha256};

use crate::counters::Counters;
use crate::keys::{Keys, Registry};
use crate::link::{Backoff, Stopped};
use crate::message::{Fields, Message, shown};
use crate::take::{Queue, now};

/// The label of a run that has the message's id.
const ID: &str = "baichuan.id";
/// The label that tells one enqueuing of an id from another.
const ENQUEUED_AT: &str = "baichuan.enqueued_at";
/// The label that has what the producer hung on the message.
const META: &str = "baichuan.meta";
/// The longest value that a label may have.
const MAX_LABEL: usize = 1024;
/// How long an id and its outcome are remembered after its run ended: longer than Redis may be away with the id still in the bridge's own list.
const REMEMBERED: Ttl = Ttl::Ms(30 * 24 * 3600 * 1000);
/// Lines of a journal that are looked through for who executes the task.
const JOURNAL: usize = 1000;

/// What a key of Redis turned out to hold.
enum Found {
    Nothing,
    Foreign(String),
    TooLarge(String),
    Message(Fields),
}

/// Why a message has no run whose outcome could be written.
enum Ill {
    /// For its reader.
    Because(String),
    Stopped,
}

impl From<Stopped> for Ill {
    fn from(_: Stopped) -> Self {
        Ill::Stopped
    }
}

impl Queue {
    /// Carries a message, and again as often as its id was taken meanwhile.
    pub async fn carry_all(&self, id: &[u8]) {
        let _open = self.shared.counters.open();
        loop {
            // What is left undone is in the bridge's own list, for the next start.
            if self.carry_one(id).await.is_err() || !self.again(id) {
                return;
            }
        }
    }

    async fn carry_one(&self, id: &[u8]) -> Result<(), Stopped> {
        match self.read(id).await? {
            Found::Nothing => {
                Counters::add(&self.shared.counters.gone);
                tracing::debug!(
                    queue = self.name,
                    id = shown(id, 64),
                    "the message was deleted before it ran"
                );
                self.done(id, None, false).await
            }
            Found::Foreign(kind) => {
                Counters::add(&self.shared.counters.refused);
                tracing::warn!(
                    queue = self.name,
                    id = shown(id, 64),
                    "mq:msg:{} is a {kind} and no hash: the id was moved to {}",
                    shown(id, 64),
                    self.keys.refused()
                );
                self.shared.link.ask("set an id aside", &self.keys.refuse(id)).await
            }
            Found::TooLarge(why) => self.fail(id, &Fields::default(), &why).await,
            Found::Message(fields) => self.carry_message(id, &fields).await,
        }
    }

    async fn read(&self, id: &[u8]) -> Result<Found, Stopped> {
        let commands = self.keys.read(id, now().0 / 1000, self.shared.settings.max_data);
        let (mut answer,): (Vec<Option<Vec<u8>>>,) =
            self.shared.link.ask("read a message", &commands).await?;
        let mut words = answer.iter().take(4).map(|word| shown(word.as_deref().unwrap_or_default(), 64));
        let kind = words.next().unwrap_or_default();
        Ok(match kind.as_str() {
            "none" => Found::Nothing,
            "hash" => Found::Message(Fields(answer.split_off(1))),
            "large" => Found::TooLarge(format!(
                "{} has {} bytes, and may have {} (max_data in [bridge.redis] is the limit of data, meta and result)",
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            )),
            _ => Found::Foreign(kind),
        })
    }

    async fn carry_message(&self, id: &[u8], fields: &Fields) -> Result<(), Stopped> {
        let ended = match fields.status().as_deref() {
            Some("finished") => Some((Registry::Finished, fields.result_ttl())),
            Some("failed") => Some((Registry::Failed, fields.failure_ttl())),
            _ => None,
        };
        if ended.is_some() && self.own_run(id, fields).await?.is_none() {
            // An original worker has done it, or it never had a run: what is written stays.
            return self.done(id, ended, false).await;
        }
        let run = match fields.message() {
            Ok(message) => self.start(id, fields, message).await,
            Err(why) => Err(Ill::Because(why)),
        };
        match run {
            Ok(run) => self.follow(id, fields, run).await,
            Err(Ill::Because(why)) => self.fail(id, fields, &why).await,
            Err(Ill::Stopped) => Err(Stopped),
        }
    }

    // ---- the run

    /// The run that this enqueuing of the id already has.
    async fn own_run(&self, id: &[u8], fields: &Fields) -> Result<Option<RunView>, Stopped> {
        let mut backoff = Backoff::new(&self.shared.stopping);
        loop {
            match self.shared.engine.key(self.key(id)).await {
                Ok(None) => return Ok(None),
                Ok(Some(Key { run, .. })) => {
                    let view = self.view(run).await?;
                    return Ok(view.filter(|view| is_of(view, fields)));
                }
                Err(_) => backoff.pause().await?,
            }
        }
    }

    /// Starts the run, or finds the one that the id stands for.
    async fn start(&self, id: &[u8], fields: &Fields, message: Message) -> Result<RunId, Ill> {
        let mut start = self.request(id, fields, message);
        let Started { run, kind, .. } = self.hand_in(start.clone()).await?;
        if kind != StartKind::Reused || self.view(run).await?.is_some_and(|view| is_of(&view, fields)) {
            return Ok(run);
        }
        // The id has come back after its run had ended: somebody enqueued it once more, as `requeue` does with what failed.
        if let Some(key) = &mut start.key {
            key.force = true;
        }
        Ok(self.hand_in(start).await?.run)
    }

    async fn hand_in(&self, start: Start) -> Result<Started, Ill> {
        let mut backoff = Backoff::new(&self.shared.stopping);
        loop {
            match self.shared.engine.start(start.clone()).await {
                Ok(started) => return Ok(started),
                // A task that nobody has announced is one whose worker has not connected yet.
                Err(EngineError::Busy { .. } | EngineError::Unavailable(_) | EngineError::UnknownTask(_)) => {
                    backoff.pause().await?;
                }
                Err(error) => return Err(Ill::Because(error.to_string())),
            }
        }
    }

    fn request(&self, id: &[u8], fields: &Fields, message: Message) -> Start {
        let mut labels = Labels::from([(ID.to_owned(), shown(id, 200))]);
        labels.extend(fields.enqueued_at().map(|at| (ENQUEUED_AT.to_owned(), at)));
        let meta = message.meta.filter(|meta| meta.len() <= MAX_LABEL);
        labels.extend(meta.map(|meta| (META.to_owned(), meta)));
        let task = TaskOptions { timeout_ms: message.timeout_ms, ..TaskOptions::default() };
        Start {
            namespace: self.shared.settings.namespace.clone(),
            definition: self.name.clone(),
            kind: Some(DefinitionKind::Task),
            version: None,
            input: message.input,
            run: None,
            key: Some(StartKey { rerun_purged: true, ttl: REMEMBERED, ..StartKey::once(key_text(id)) }),
            options: RunOptions {
                labels,
                result_ttl: Some(REMEMBERED),
                failure_ttl: Some(REMEMBERED),
                task: Some(task),
                ..RunOptions::default()
            },
        }
    }

    fn key(&self, id: &[u8]) -> KeyId {
        KeyId {
            namespace: self.shared.settings.namespace.as_str().into(),
            definition: self.name.as_str().into(),
            version: "".into(),
            continue_id: key_text(id).into(),
        }
    }

    /// A run, unless it was deleted.
    async fn view(&self, run: RunId) -> Result<Option<RunView>, Stopped> {
        let mut backoff = Backoff::new(&self.shared.stopping);
        loop {
            match self.shared.engine.run(run).await {
                Ok(view) => return Ok(Some(view)),
                Err(EngineError::Refused(Refusal::UnknownRun(_))) => return Ok(None),
                Err(_) => backoff.pause().await?,
            }
        }
    }

    /// Writes down what becomes of a run, until it has ended.
    async fn follow(&self, id: &[u8], fields: &Fields, run: RunId) -> Result<(), Stopped> {
        let mut watch = self.shared.engine.watch(run);
        let mut written = fields.status();
        loop {
            let Some(view) = self.view(run).await? else {
                return self
                    .fail(id, fields, &format!("{run} was deleted before its outcome was written here"))
                    .await;
            };
            let info = TaskInfo::of(&view);
            if view.summary.state.is_closed() {
                return self.write_outcome(id, fields, run, &info).await;
            }
            let status = info.status.as_str();
            if written.as_deref() != Some(status) {
                if !self.write_status(id, run, &info).await? {
                    // Somebody has deleted the message; its run goes on, and nothing of it is told here.
                    Counters::add(&self.shared.counters.gone);
                    return self.done(id, None, false).await;
                }
                written = Some(status.to_owned());
            }
            self.shared.link.unless_stopped(watch.changed()).await?;
        }
    }

    /// Who executes a run, or did so last.
    async fn worker(&self, run: RunId) -> Result<Option<String>, Stopped> {
        let mut backoff = Backoff::new(&self.shared.stopping);
        let journal = loop {
            match self.shared.engine.journal(run, 0, JOURNAL).await {
                Ok(journal) => break journal,
                Err(EngineError::Refused(_)) => return Ok(None),
                Err(_) => backoff.pause().await?,
            }
        };
        let worker = journal.rows.iter().rev().find_map(|row| match &row.entry {
            Entry::AttemptStarted { worker, .. } => Some(worker.clone()),
            _ => None,
        });
        Ok(worker.map(|worker| baichuan::handle_worker(&worker, self.shared.settings.port)))
    }

    // ---- what is written

    /// Writes the status of an open run; whether the message was there to be written to.
    async fn write_status(&self, id: &[u8], run: RunId, info: &TaskInfo) -> Result<bool, Stopped> {
        let mut fields = vec![("status", info.status.as_str().into())];
        if info.status == Status::Started {
            fields.extend(self.worker(run).await?.map(|worker| ("handle_worker", worker.into_bytes())));
            fields.extend(info.started_at.clone().map(|at| ("started_at", at.into_bytes())));
        }
        self.write(id, -1, &fields).await
    }

    async fn write_outcome(
        &self,
        id: &[u8],
        read: &Fields,
        run: RunId,
        info: &TaskInfo,
    ) -> Result<(), Stopped> {
        let mut fields =
            vec![("status", info.status.as_str().into()), ("cost", info.cost.clone().into_bytes())];
        fields.extend(self.worker(run).await?.map(|worker| ("handle_worker", worker.into_bytes())));
        fields.extend(info.started_at.clone().map(|at| ("started_at", at.into_bytes())));
        fields.extend(info.ended_at.clone().map(|at| ("ended_at", at.into_bytes())));
        fields.extend(info.answer.as_ref().map(|answer| ("result", crate::pickle::write(&answer.body))));
        fields.extend(info.exc_info.as_ref().map(|text| ("exc_info", zlib(text))));
        let counters = &self.shared.counters;
        let (registry, ttl, counter) = match info.status {
            Status::Finished => (Registry::Finished, read.result_ttl(), &counters.finished),
            _ => (Registry::Failed, read.failure_ttl(), &counters.failed),
        };
        self.close(id, registry, ttl, &fields, counter).await
    }

    /// Writes that a message has failed before there was anything to run.
    async fn fail(&self, id: &[u8], read: &Fields, why: &str) -> Result<(), Stopped> {
        tracing::warn!(queue = self.name, id = shown(id, 64), "a message was refused: {why}");
        let ended = baichuan::time(now()).into_bytes();
        let fields =
            [("status", Status::Failed.as_str().into()), ("ended_at", ended), ("exc_info", zlib(why))];
        self.close(id, Registry::Failed, read.failure_ttl(), &fields, &self.shared.counters.failed).await
    }

    /// Writes an outcome, and then, because it is written, lets the id go.
    async fn close(
        &self,
        id: &[u8],
        registry: Registry,
        ttl: i64,
        fields: &[(&str, Vec<u8>)],
        counter: &std::sync::atomic::AtomicU64,
    ) -> Result<(), Stopped> {
        let is_there = self.write(id, ttl, fields).await?;
        Counters::add(if is_there { counter } else { &self.shared.counters.gone });
        let listed = (is_there && ttl != 0).then_some((registry, ttl));
        self.done(id, listed, true).await
    }

    async fn write(&self, id: &[u8], ttl: i64, fields: &[(&str, Vec<u8>)]) -> Result<bool, Stopped> {
        let (is_there,): (bool,) =
            self.shared.link.ask("write to a message", &Keys::write(id, ttl, fields)).await?;
        Ok(is_there)
    }

    async fn done(&self, id: &[u8], listed: Option<(Registry, i64)>, anew: bool) -> Result<(), Stopped> {
        let commands = self.keys.done(id, listed, now().0 / 1000, anew);
        let (is_listed,): (bool,) = self.shared.link.ask("let a message go", &commands).await?;
        if let Some((registry, _)) = listed.filter(|_| !is_listed) {
            tracing::warn!(
                queue = self.name,
                id = shown(id, 64),
                "the message is done and listed nowhere: {} is no sorted set",
                self.keys.registry(registry)
            );
        }
        Ok(())
    }
}

/// Whether a run was started for this enqueuing of the id.
fn is_of(view: &RunView, fields: &Fields) -> bool {
    view.summary.labels.get(ENQUEUED_AT) == fields.enqueued_at().as_ref()
}

/// The key that an id stands for: itself, unless it is no text or too long for one.
fn key_text(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if (1..=200).contains(&text.len()) => text.to_owned(),
        _ => Sha256::digest(id).iter().fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

fn zlib(text: &str) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_own_key_unless_it_cannot_be() {
        assert_eq!(key_text(b"AC3C301A7CA516EA"), "AC3C301A7CA516EA");
        assert_eq!(key_text(b"").len(), 71);
        assert_ne!(key_text(b"\xff"), key_text(b"\xfe"));
    }

    #[test]
    fn text_is_compressed_as_the_original_does() {
        assert_eq!(zlib("boom")[..2], [0x78, 0x9C]);
    }
}
