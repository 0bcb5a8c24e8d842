//! Lines of calls that wait for a worker, and the limits that hold them back.
//!
//! Calls of one function in one queue are a line. Those with a concurrency key stand in it key by key, and only the keys that may start
//! something now are looked at: the *heads*. A key that has just been served stands behind everything that had come by then, so that keys
//! take turns and none is passed over for ever. What is set by people and how far buckets are used up is durable; the rest is
//! derived from runs.

mod far;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{RunId, StepId};
use crate::limits::{
    Bucket, CallLimit, LimiterId, LimiterKind, LimiterRow, LimiterSettings, QueueView, Rate,
};
use crate::rows::QueuePlace;
use crate::time::Ticks;

/// A line: namespace, queue and function.
pub(super) type QueueKey = (Arc<str>, Arc<str>, Arc<str>);

/// A place in a line: higher priority first, then the order of arrival.
pub(super) type Place = (Reverse<u8>, u64, RunId, StepId);

/// Where something stands among all that could start: priority, turn, and the place itself.
pub(super) type Turn = (Reverse<u8>, u64, Place);

/// Whether a limit lets something start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Not before something else happens.
    Shut,
    /// Not before this moment.
    Until(Ticks),
}

/// Calls of one function in one queue.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Line {
    name: Arc<QueueKey>,
    ahead: far::Ahead,
    /// Those without a concurrency key.
    free: BTreeSet<Place>,
    keyed: BTreeMap<Arc<str>, Group>,
    /// Keys that may start something now.
    heads: BTreeSet<(Turn, Arc<str>)>,
    /// How many calls wait with a key.
    grouped: usize,
}

/// Calls of one concurrency key in a line.
#[derive(Debug, Default, Clone, PartialEq)]
struct Group {
    places: BTreeMap<Place, Arc<CallLimit>>,
    /// What stands among the heads for it.
    head: Option<Turn>,
}

/// A queue or a key: what was set, and what is counted.
#[derive(Debug, Default, Clone, PartialEq)]
struct Limiter {
    settings: LimiterSettings,
    bucket: Bucket,
    /// Attempts that execute, or may.
    running: u32,
    /// The number of the record that last started something of it.
    served: u64,
    /// For a key: the lines that it stands in.
    lines: Vec<QueueKey>,
    /// For a queue.
    tally: Option<Box<Tally>>,
}

/// What has happened in a queue since the partition was loaded.
#[derive(Debug, Clone, PartialEq)]
struct Tally {
    started: u64,
    ended: u64,
    failed: u64,
    /// Steps ended in each of the last sixty seconds, the second that each number is of beside it.
    seconds: [(u64, u32); 60],
}

type Limiters = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Limiter>>;

/// All lines of a partition.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Lines {
    /// The last moment that was told.
    now: Ticks,
    /// Attempts may be out that are not known yet: nothing that is limited starts.
    pub(super) holding: bool,
    ready: BTreeMap<QueueKey, Line>,
    queues: Limiters,
    keys: Limiters,
    /// When buckets of what is held back have a token again.
    refills: BTreeSet<(Ticks, LimiterId)>,
    /// How many partitions a queue's limits are shared out to, and which of them this is.
    share: u32,
    part: u32,
    /// How many queues and keys were left when they were last gone through.
    kept: usize,
}

/// So many queues and keys are remembered before idle ones are forgotten.
const KEPT: usize = 1_000;

impl Lines {
    pub(super) fn new(part: u16, partitions: u16) -> Self {
        Lines { share: u32::from(partitions.max(1)), part: u32::from(part), ..Lines::default() }
    }

    pub(super) fn set_now(&mut self, now: Ticks) {
        self.now = self.now.max(now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = (&QueueKey, &Line)> {
        self.ready.iter()
    }

    // ---- places

    /// Puts a call into its line or takes it out.
    pub(super) fn put(&mut self, place: &QueuePlace, run: RunId, on: bool) {
        let line_key = (place.namespace.clone(), place.queue.clone(), place.function.clone());
        let at = (Reverse(place.priority), place.order, run, place.step);
        if on {
            let line = self.ready.entry(line_key.clone()).or_insert_with_key(Line::new);
            match &place.limit {
                None => {
                    line.ahead.count(&at, true);
                    line.free.insert(at);
                }
                Some(limit) => {
                    let group = line.keyed.entry(limit.key.clone()).or_default();
                    line.grouped += usize::from(group.places.insert(at, limit.clone()).is_none());
                }
            }
        } else if let Some(line) = self.ready.get_mut(&line_key) {
            match &place.limit {
                None => {
                    line.ahead.count(&at, false);
                    line.free.remove(&at);
                }
                Some(limit) => {
                    let group = line.keyed.get_mut(&limit.key);
                    let found = group.is_some_and(|group| group.places.remove(&at).is_some());
                    line.grouped -= usize::from(found);
                }
            }
        }
        match &place.limit {
            None => self.drop_if_empty(&line_key),
            Some(limit) => self.line_changed(&line_key, &limit.key),
        }
    }

    fn drop_if_empty(&mut self, line: &QueueKey) {
        if self.ready.get(line).is_some_and(|line| line.free.is_empty() && line.keyed.is_empty()) {
            self.ready.remove(line);
        }
    }

    /// A group of a line has another first place, or none.
    fn line_changed(&mut self, line_key: &QueueKey, key: &Arc<str>) {
        let waits = self.ready.get(line_key).and_then(|line| line.keyed.get(key));
        let waits = waits.is_some_and(|group| !group.places.is_empty());
        let limiter = limiter(&mut self.keys, &line_key.0, key);
        let known = limiter.lines.iter().position(|known| known == line_key);
        match (waits, known) {
            (true, None) => limiter.lines.push(line_key.clone()),
            (false, Some(at)) => {
                limiter.lines.swap_remove(at);
            }
            _ => {}
        }
        self.refresh(line_key, key);
        if !waits {
            if let Some(line) = self.ready.get_mut(line_key) {
                line.keyed.remove(key);
            }
            self.drop_if_empty(line_key);
            self.forget(&line_key.0, key);
        }
    }

    /// Has the head of a key stand where it belongs in a line: nowhere, if it may not start.
    fn refresh(&mut self, line_key: &QueueKey, key: &Arc<str>) {
        let Lines { ready, keys, refills, now, .. } = self;
        let (Some(line), Some(limiter)) =
            (ready.get_mut(line_key), keys.get(&line_key.0).and_then(|all| all.get(key)))
        else {
            return;
        };
        let Some(group) = line.keyed.get_mut(key) else { return };
        let first = group.places.first_key_value();
        let head = first.and_then(|(place, limit)| match limiter.gate_of_key(limit, *now) {
            Gate::Open => Some((place.0, place.1.max(limiter.served), *place)),
            Gate::Shut => None,
            Gate::Until(at) => {
                refills.insert((at, id(LimiterKind::Key, &line_key.0, key)));
                None
            }
        });
        if head != group.head {
            if let Some(old) = group.head.take() {
                line.heads.remove(&(old, key.clone()));
            }
            if let Some(new) = head {
                line.heads.insert((new, key.clone()));
            }
            group.head = head;
        }
    }

    /// The same in every line that the key stands in.
    fn refresh_all(&mut self, namespace: &Arc<str>, key: &Arc<str>) {
        let lines =
            self.keys.get(namespace).and_then(|all| all.get(key)).map(|limiter| limiter.lines.clone());
        for line in lines.into_iter().flatten() {
            self.refresh(&line, key);
        }
    }

    /// Forgets a key that stands nowhere and limits nothing.
    fn forget(&mut self, namespace: &Arc<str>, key: &Arc<str>) {
        let now = self.now;
        if let Some(all) = self.keys.get_mut(namespace) {
            if all.get(key).is_some_and(|limiter| limiter.is_idle(now)) {
                all.remove(key);
            }
            if all.is_empty() {
                self.keys.remove(namespace);
            }
        }
    }

    /// Forgets queues and keys that limit nothing and have been idle for a minute, once there are twice as many as were left the last time.
    pub(super) fn prune(&mut self) {
        let count = |all: &Limiters| all.values().map(BTreeMap::len).sum::<usize>();
        if count(&self.queues) + count(&self.keys) <= 2 * self.kept.max(KEPT) {
            return;
        }
        let Lines { ready, queues, keys, now, .. } = self;
        for (namespace, named) in queues.iter_mut() {
            named.retain(|queue, limiter| {
                let from: QueueKey = (namespace.clone(), queue.clone(), "".into());
                let next = ready.range(from..).next();
                let waits = next.is_some_and(|(key, _)| key.0 == *namespace && key.1 == *queue);
                waits || !limiter.is_idle(*now) || limiter.is_recent(*now)
            });
        }
        for named in keys.values_mut() {
            named.retain(|_, limiter| !limiter.is_idle(*now));
        }
        queues.retain(|_, named| !named.is_empty());
        keys.retain(|_, named| !named.is_empty());
        self.kept = count(&self.queues) + count(&self.keys);
    }

    // ---- what executes

    /// Counts an attempt that executes, or no longer does.
    pub(super) fn seat(&mut self, namespace: &Arc<str>, queue: &str, key: Option<&Arc<str>>, on: bool) {
        let count = |limiter: &mut Limiter| {
            limiter.running = if on { limiter.running + 1 } else { limiter.running.saturating_sub(1) };
        };
        count(limiter_by_name(&mut self.queues, namespace, queue));
        if let Some(key) = key {
            count(limiter(&mut self.keys, namespace, key));
            self.refresh_all(namespace, key);
            if !on {
                self.forget(namespace, key);
            }
        }
    }

    /// An attempt begins: buckets are charged, and the key stands behind the others. Returns whether a bucket was; `known` ones were before.
    pub(super) fn started(
        &mut self,
        number: u64,
        namespace: &Arc<str>,
        queue: &str,
        limit: Option<&CallLimit>,
        known: bool,
    ) -> bool {
        let (now, share) = (self.now.0, self.share);
        let of_queue = limiter_by_name(&mut self.queues, namespace, queue);
        of_queue.tally().started += 1;
        let mut charged = false;
        if let Some(rate) = of_queue.settings.rate.filter(|_| !known) {
            of_queue.bucket = of_queue.bucket.charged(rate, share, now);
            charged = true;
        }
        let Some(limit) = limit else { return charged };
        let of_key = limiter(&mut self.keys, namespace, &limit.key);
        of_key.served = number;
        if let Some(rate) = of_key.settings.rate.or(limit.rate).filter(|_| !known) {
            of_key.bucket = of_key.bucket.charged(rate, 1, now);
            charged = true;
        }
        self.refresh_all(namespace, &limit.key);
        charged
    }

    /// A step ended.
    pub(super) fn ended(&mut self, namespace: &Arc<str>, queue: &str, failed: bool) {
        let second = self.now.0 / 1_000;
        let tally = limiter_by_name(&mut self.queues, namespace, queue).tally();
        tally.ended += 1;
        tally.failed += u64::from(failed);
        let slot = &mut tally.seconds[(second % 60) as usize];
        *slot = if slot.0 == second { (second, slot.1.saturating_add(1)) } else { (second, 1) };
    }

    // ---- what is set

    pub(super) fn settings(&self, id: &LimiterId) -> LimiterSettings {
        let all = if id.kind == LimiterKind::Queue { &self.queues } else { &self.keys };
        let found = all.get(&id.namespace).and_then(|all| all.get(&id.name));
        found.map_or_else(LimiterSettings::default, |limiter| limiter.settings)
    }

    pub(super) fn set(&mut self, id: &LimiterId, settings: LimiterSettings) {
        let (now, share) = (self.now.0, self.share);
        let (all, share) = match id.kind {
            LimiterKind::Queue => (&mut self.queues, share),
            LimiterKind::Key => (&mut self.keys, 1),
        };
        let limiter = limiter(all, &id.namespace, &id.name);
        limiter.settings = settings;
        limiter.bucket = limiter.bucket.under(settings.rate, share, now);
        if id.kind == LimiterKind::Key {
            self.refresh_all(&id.namespace, &id.name);
            self.forget(&id.namespace, &id.name);
        }
    }

    /// What must be durable.
    pub(super) fn rows(&self) -> Vec<LimiterRow> {
        let now = self.now.0;
        let mut rows = Vec::new();
        for (kind, all) in [(LimiterKind::Queue, &self.queues), (LimiterKind::Key, &self.keys)] {
            for (namespace, limiters) in all {
                let durable = limiters.iter().filter(|(_, limiter)| {
                    limiter.settings != LimiterSettings::default() || !limiter.bucket.is_full(now)
                });
                rows.extend(durable.map(|(name, limiter)| LimiterRow {
                    id: id(kind, namespace, name),
                    settings: limiter.settings,
                    bucket: limiter.bucket,
                }));
            }
        }
        rows
    }

    pub(super) fn recover(&mut self, rows: &[LimiterRow]) {
        for row in rows {
            let all = if row.id.kind == LimiterKind::Queue { &mut self.queues } else { &mut self.keys };
            let limiter = limiter(all, &row.id.namespace, &row.id.name);
            limiter.settings = row.settings;
            limiter.bucket = row.bucket;
            if row.id.kind == LimiterKind::Key {
                self.refresh_all(&row.id.namespace, &row.id.name);
            }
        }
    }

    // ---- what may start

    /// Whether a queue lets anything start now. One that has to wait for a token is added to `refills`, for [`Lines::wait_for`].
    pub(super) fn is_open(
        &self,
        namespace: &Arc<str>,
        queue: &Arc<str>,
        refills: &mut Vec<(Ticks, LimiterId)>,
    ) -> bool {
        match self.gate_of_queue(namespace, queue) {
            Gate::Open => true,
            Gate::Shut => false,
            Gate::Until(at) => {
                refills.push((at, id(LimiterKind::Queue, namespace, queue)));
                false
            }
        }
    }

    /// Has what waits for a token looked at again when there is one.
    pub(super) fn wait_for(&mut self, refills: Vec<(Ticks, LimiterId)>) {
        self.refills.extend(refills);
    }

    /// Whether anything is set for a queue.
    pub(super) fn is_limited(&self, namespace: &str, queue: &str) -> bool {
        let found = self.queues.get(namespace).and_then(|all| all.get(queue));
        found.is_some_and(|limiter| limiter.settings != LimiterSettings::default())
    }

    fn gate_of_queue(&self, namespace: &str, queue: &str) -> Gate {
        let Some(limiter) = self.queues.get(namespace).and_then(|all| all.get(queue)) else {
            return Gate::Open;
        };
        let LimiterSettings { paused, max_running, rate } = limiter.settings;
        let max = max_running.map(|max| (max / self.share + u32::from(self.part < max % self.share)).max(1));
        if self.holding && (max.is_some() || rate.is_some()) {
            return Gate::Shut;
        }
        limiter.gate(paused, max, rate, self.share, self.now)
    }

    /// When the next bucket of something that is held back has a token.
    pub(super) fn next_refill(&self) -> Option<Ticks> {
        self.refills.first().map(|(at, _)| *at)
    }

    /// Lets go what had to wait for a token.
    pub(super) fn refill(&mut self) {
        while let Some((at, _)) = self.refills.first()
            && *at <= self.now
        {
            let Some((_, id)) = self.refills.pop_first() else { break };
            if id.kind == LimiterKind::Key {
                self.refresh_all(&id.namespace, &id.name);
                self.forget(&id.namespace, &id.name);
            }
        }
    }

    /// The limit that holds a call back, in words.
    pub(super) fn held_by(&self, namespace: &str, queue: &str, limit: Option<&CallLimit>) -> Option<String> {
        if let Some(limiter) = self.queues.get(namespace).and_then(|all| all.get(queue))
            && self.gate_of_queue(namespace, queue) != Gate::Open
        {
            return Some(limiter.tells(&format!("queue {queue}"), None));
        }
        let limit = limit?;
        let limiter = self.keys.get(namespace)?.get(&limit.key)?;
        let shut = limiter.gate_of_key(limit, self.now) != Gate::Open;
        shut.then(|| limiter.tells(&format!("key {}", limit.key), Some(limit)))
    }

    // ---- for people

    /// How many calls wait in each line.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&QueueKey, usize)> {
        self.ready.iter().map(|(key, line)| (key, line.len()))
    }

    /// Every queue that has something in it, did something, or was set.
    pub(super) fn views(&self) -> Vec<QueueView> {
        let mut views: BTreeMap<(Arc<str>, Arc<str>), QueueView> = BTreeMap::new();
        let empty =
            |namespace: &Arc<str>, queue: &Arc<str>| QueueView::idle(namespace.clone(), queue.clone());
        for (namespace, queues) in &self.queues {
            for (queue, limiter) in queues {
                let view = views
                    .entry((namespace.clone(), queue.clone()))
                    .or_insert_with(|| empty(namespace, queue));
                view.settings = limiter.settings;
                view.running = limiter.running;
                if let Some(tally) = &limiter.tally {
                    (view.started, view.ended, view.failed) = (tally.started, tally.ended, tally.failed);
                    let since = (self.now.0 / 1_000).saturating_sub(59);
                    let recent = tally.seconds.iter().filter(|(second, _)| *second >= since);
                    view.last_minute = recent.map(|(_, count)| u64::from(*count)).sum();
                }
            }
        }
        for ((namespace, queue, function), line) in &self.ready {
            let view =
                views.entry((namespace.clone(), queue.clone())).or_insert_with(|| empty(namespace, queue));
            view.waiting += line.len();
            view.functions.push((function.clone(), line.len()));
            view.oldest = [view.oldest, line.oldest()].into_iter().flatten().min();
        }
        views.into_values().collect()
    }
}

impl Line {
    fn new(key: &QueueKey) -> Self {
        Line { name: Arc::new(key.clone()), ..Line::default() }
    }

    /// Those without a concurrency key, each where it stands.
    pub(super) fn free(&self) -> impl Iterator<Item = Turn> {
        self.free.iter().map(|place| (place.0, place.1, *place))
    }

    /// The first call of each key that may start something, in turn.
    pub(super) fn heads(&self) -> impl Iterator<Item = Turn> {
        self.heads.iter().map(|(turn, _)| *turn)
    }

    fn len(&self) -> usize {
        self.free.len() + self.grouped
    }

    /// When the run that waits longest was created.
    fn oldest(&self) -> Option<u64> {
        // Within one priority the first has come first.
        let from = |priority| (Reverse(priority), 0, RunId::from_bytes([0; 16]), StepId(0));
        let free = (0..=9).filter_map(|priority| self.free.range(from(priority)..).next());
        let keyed = self.keyed.values().filter_map(|group| group.places.keys().next());
        free.chain(keyed).map(|place| place.2.wall_ms()).min()
    }
}

impl Limiter {
    fn gate(&self, paused: bool, max: Option<u32>, rate: Option<Rate>, share: u32, now: Ticks) -> Gate {
        if paused || max.is_some_and(|max| self.running >= max) {
            return Gate::Shut;
        }
        match rate.map(|rate| self.bucket.next_ms(rate, share, now.0)) {
            Some(at) if at > now.0 => Gate::Until(Ticks(at)),
            _ => Gate::Open,
        }
    }

    fn gate_of_key(&self, limit: &CallLimit, now: Ticks) -> Gate {
        let max = self.settings.max_running.or(limit.max_running);
        self.gate(self.settings.paused, max, self.settings.rate.or(limit.rate), 1, now)
    }

    fn is_idle(&self, now: Ticks) -> bool {
        self.running == 0
            && self.lines.is_empty()
            && self.settings == LimiterSettings::default()
            && self.bucket.is_full(now.0)
    }

    /// Whether anything ended in the last minute.
    fn is_recent(&self, now: Ticks) -> bool {
        let since = (now.0 / 1_000).saturating_sub(59);
        self.tally
            .as_ref()
            .is_some_and(|tally| tally.seconds.iter().any(|(second, count)| *count > 0 && *second >= since))
    }

    fn tally(&mut self) -> &mut Tally {
        self.tally
            .get_or_insert_with(|| Box::new(Tally { started: 0, ended: 0, failed: 0, seconds: [(0, 0); 60] }))
    }

    /// What it limits to, in words.
    fn tells(&self, what: &str, limit: Option<&CallLimit>) -> String {
        let max = self.settings.max_running.or(limit.and_then(|limit| limit.max_running));
        let rate = self.settings.rate.or(limit.and_then(|limit| limit.rate));
        match (self.settings.paused, max, rate) {
            (true, ..) => format!("{what}: paused"),
            (_, Some(max), _) if self.running >= max => format!("{what}: {} of {max} running", self.running),
            (_, _, Some(rate)) => format!("{what}: {rate}"),
            _ => what.to_owned(),
        }
    }
}

fn id(kind: LimiterKind, namespace: &Arc<str>, name: &Arc<str>) -> LimiterId {
    LimiterId { namespace: namespace.clone(), kind, name: name.clone() }
}

fn limiter<'a>(all: &'a mut Limiters, namespace: &Arc<str>, name: &Arc<str>) -> &'a mut Limiter {
    all.entry(namespace.clone()).or_default().entry(name.clone()).or_default()
}

/// The same by a name that is kept only where it is new.
fn limiter_by_name<'a>(all: &'a mut Limiters, namespace: &Arc<str>, name: &str) -> &'a mut Limiter {
    let known = all.get(namespace).is_some_and(|all| all.contains_key(name));
    let named = all.entry(namespace.clone()).or_default();
    if !known {
        named.insert(name.into(), Limiter::default());
    }
    named.get_mut(name).expect("it was just put there if it was not")
}
