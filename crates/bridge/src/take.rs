//! One queue: takes ids as they come, and finds those again that were taken before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use riverrun_kernel::Wall;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bridge::Shared;
use crate::counters::Counters;
use crate::keys::Keys;
use crate::link::{Backoff, Live, Stopped};

/// How long Redis is asked to wait for an id: less than an answer may take, so that a connection that is dead is noticed.
const WAIT_SECONDS: f64 = 2.0;
/// How often a queue whose task is not known looks whether it is.
const LOOK: Duration = Duration::from_millis(100);

/// A queue that is served.
pub(crate) struct Queue {
    pub shared: Arc<Shared>,
    /// Its name, which is the task's.
    pub name: String,
    pub keys: Keys,
    /// Room for messages that are taken.
    room: Arc<Semaphore>,
    /// The ids that are being carried, and how often each stands in the bridge's own list beyond that.
    carried: Mutex<HashMap<Vec<u8>, usize>>,
}

/// Why a queue is not served any more.
enum End {
    Stopped,
    Redis(RedisError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        End::Stopped
    }
}

impl From<RedisError> for End {
    fn from(error: RedisError) -> Self {
        End::Redis(error)
    }
}

impl Queue {
    pub fn new(shared: Arc<Shared>, name: &str) -> Self {
        let keys = Keys::new(name, &shared.settings.name);
        let room = Arc::new(Semaphore::new(shared.settings.max_taken));
        Queue { shared, name: name.to_owned(), keys, room, carried: Mutex::default() }
    }

    /// Takes messages until the bridge stops.
    pub async fn take(self: Arc<Self>) {
        let link = &self.shared.link;
        let what = format!("take messages of {}", self.name);
        let mut backoff = Backoff::new(&self.shared.stopping);
        let mut told = String::new();
        loop {
            let Ok(live) = link.live().await else { return };
            match self.serve(&live, &mut backoff).await {
                Ok(never) => match never {},
                Err(End::Stopped) => return,
                Err(End::Redis(error)) => link.trouble(live.generation, &error, &what, &mut told),
            }
            if backoff.pause().await.is_err() {
                return;
            }
        }
    }

    /// Takes messages as long as the connection holds.
    async fn serve(
        self: &Arc<Self>,
        live: &Live,
        backoff: &mut Backoff<'_>,
    ) -> Result<std::convert::Infallible, End> {
        let link = &self.shared.link;
        let mut connection = link.dedicated().await?;
        tracing::debug!(queue = self.name, connection = live.generation, "takes messages");
        self.find_taken(&mut connection).await?;
        self.until_known().await?;
        loop {
            let room = link.unless_stopped(self.room.clone().acquire_owned()).await?.map_err(|_| Stopped)?;
            let take = self.keys.take(WAIT_SECONDS);
            // What Redis moves while the bridge stops is found at the next start.
            let id: Option<Vec<u8>> = link.unless_stopped(take.query_async(&mut connection)).await??;
            backoff.reset();
            if let Some(id) = id {
                Counters::add(&self.shared.counters.taken);
                self.begin(id, Some(room));
            }
        }
    }

    /// Waits until some worker has announced the task: until then its messages stay where others can take them.
    async fn until_known(&self) -> Result<(), Stopped> {
        let mut told = false;
        while self.shared.engine.definition(&self.shared.settings.namespace, &self.name, None).is_none() {
            if !told {
                tracing::warn!(
                    queue = self.name,
                    "no worker has announced this task yet: its messages stay in Redis until one connects"
                );
                told = true;
            }
            self.shared.link.unless_stopped(tokio::time::sleep(LOOK)).await?;
        }
        Ok(())
    }

    /// Carries on with everything that was taken before: by a process that was killed, or by a command whose answer was lost.
    async fn find_taken(self: &Arc<Self>, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        self.keys.touch(now().0 / 1000).query_async::<()>(connection).await?;
        let ids: Vec<Vec<u8>> = self.keys.list_taken().query_async(connection).await?;
        let mut found: HashMap<Vec<u8>, usize> = HashMap::new();
        for id in ids {
            *found.entry(id).or_default() += 1;
        }
        for (id, times) in found {
            match self.carried().entry(id.clone()) {
                Entry::Occupied(mut more) => {
                    *more.get_mut() = (*more.get()).max(times - 1);
                    continue;
                }
                Entry::Vacant(more) => drop(more.insert(times - 1)),
            }
            // They were taken while there was room; they take what there is.
            let room = self.room.clone().try_acquire_owned().ok();
            self.carry(id, room);
        }
        Ok(())
    }

    /// Carries an id that was taken, or notes that it has come again.
    fn begin(self: &Arc<Self>, id: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
        match self.carried().entry(id.clone()) {
            Entry::Occupied(mut more) => {
                *more.get_mut() += 1;
                return;
            }
            Entry::Vacant(more) => drop(more.insert(0)),
        }
        self.carry(id, room);
    }

    fn carry(self: &Arc<Self>, id: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
        let queue = self.clone();
        self.shared.tasks.spawn(async move {
            let _room = room;
            queue.carry_all(&id).await;
        });
    }

    /// Whether an id is to be carried once more. If not, it is forgotten.
    pub fn again(&self, id: &[u8]) -> bool {
        let mut carried = self.carried();
        match carried.get_mut(id) {
            Some(more) if *more > 0 => {
                *more -= 1;
                true
            }
            _ => {
                carried.remove(id);
                false
            }
        }
    }

    fn carried(&self) -> MutexGuard<'_, HashMap<Vec<u8>, usize>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the entries of what is being worked on new from time to time, until the bridge stops.
    pub async fn refresh(self: Arc<Self>) {
        let link = &self.shared.link;
        loop {
            if link.unless_stopped(tokio::time::sleep(self.shared.settings.refresh)).await.is_err() {
                return;
            }
            let touch = self.keys.touch(now().0 / 1000);
            if link.ask::<()>("make entries of mq:wip new", &touch).await.is_err() {
                return;
            }
        }
    }
}

/// Wall time.
pub(crate) fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
