//! The keys in Redis, and what is done to them. Every write to a message leaves alone what is no hash any more, so that a deleted message stays
//! deleted.
//!
//! A message and its queue may lie in different slots of a cluster: no command here touches both.

use redis::{Cmd, Pipeline, cmd, pipe};

use crate::message::FIELDS;

/// How long the original lets a message be worked on, in seconds, before its cleaners declare it failed.
const WIP_SECONDS: i64 = 3600;

/// The longest value, in bytes, of a field that holds a word, a number or a time.
const SHORT: usize = 4096;

/// Type, then the fields; or `large`, which of them, how large it is, and how large it may be.
const READ: &str = "\
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' then return {kind} end
local long = {data = true, meta = true, result = true}
for at = 3, #ARGV do
  local length = redis.call('HSTRLEN', KEYS[1], ARGV[at])
  local most = long[ARGV[at]] and ARGV[1] or ARGV[2]
  if length > tonumber(most) then return {'large', ARGV[at], tostring(length), most} end
end
local answer = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
table.insert(answer, 1, kind)
return answer";

/// Sets fields, then how long all of it is kept: 0 not at all, negative as it is.
const WRITE: &str = "\
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return 0 end
local ttl = tonumber(ARGV[1])
if ttl == 0 then redis.call('DEL', KEYS[1]) return 1 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ttl > 0 then redis.call('EXPIRE', KEYS[1], ttl) end
return 1";

/// Lets an id go, and lists it in a registry: with a score, and `NX` where an entry that is there stays. Answers 0 if the registry's key is
/// somebody else's and the id is listed nowhere.
const DONE: &str = "\
local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
local listed = 1
if ARGV[2] ~= '' then
  if not is(KEYS[3], 'zset') then listed = 0
  elseif ARGV[3] == 'NX' then redis.call('ZADD', KEYS[3], 'NX', ARGV[2], ARGV[1])
  else redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1]) end
end
if is(KEYS[2], 'zset') then redis.call('ZREM', KEYS[2], ARGV[1]) end
redis.call('LREM', KEYS[1], 1, ARGV[1])
return listed";

/// Lists an id as being worked on, unless it was let go: who looks at it again after a lost connection may come when it is done, and nobody
/// would take such an entry away.
const CLAIM: &str = "\
if redis.call('LPOS', KEYS[1], ARGV[2]) then return redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2]) end
return 0";

/// Makes the entries of everything that is taken new.
const TOUCH: &str = "\
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[2], ARGV[1], id) end
return #ids";

/// The keys of one queue. The braces are part of their names, and keep them together in a cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    source: String,
    pub taken: String,
    wip: String,
    finished: String,
    failed: String,
    refused: String,
}

/// Which registry an ended message is listed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registry {
    Finished,
    Failed,
}

impl Keys {
    pub fn new(queue: &str, own: &str) -> Self {
        let key = |prefix: &str| format!("{prefix}:{{{queue}}}");
        Keys {
            source: key("mq:queue"),
            taken: key(&format!("{own}:taken")),
            wip: key("mq:wip"),
            finished: key("mq:finished"),
            failed: key("mq:failed"),
            refused: key(&format!("{own}:refused")),
        }
    }

    /// Takes the next id, waiting for one for so many seconds.
    pub fn take(&self, seconds: f64) -> Cmd {
        let mut take = cmd("BLMOVE");
        take.arg(&self.source).arg(&self.taken).arg("LEFT").arg("RIGHT").arg(seconds);
        take
    }

    /// Every id that was taken and has not left again.
    pub fn list_taken(&self) -> Cmd {
        let mut list = cmd("LRANGE");
        list.arg(&self.taken).arg(0).arg(-1);
        list
    }

    pub fn touch(&self, now: i64) -> Pipeline {
        let mut commands = pipe();
        commands.cmd("EVAL").arg(TOUCH).arg(2).arg(&self.taken).arg(&self.wip).arg(now + WIP_SECONDS);
        commands
    }

    /// Lists a message as being worked on, and reads it. Of `data`, `meta` and `result` none may be longer than `most` bytes.
    pub fn read(&self, id: &[u8], now: i64, most: usize) -> Pipeline {
        let mut commands = pipe();
        let claim = commands.cmd("EVAL").arg(CLAIM).arg(2).arg(&self.taken).arg(&self.wip);
        claim.arg(now + WIP_SECONDS).arg(id).ignore();
        commands.cmd("EVAL").arg(READ).arg(1).arg(message(id)).arg(most).arg(SHORT).arg(&FIELDS);
        commands
    }

    /// Writes fields of a message, if it is there; the answer says whether. `ttl` is how long it is kept from now: 0 not at all, negative for
    /// as long as it is.
    pub fn write(id: &[u8], ttl: i64, fields: &[(&str, Vec<u8>)]) -> Pipeline {
        let mut commands = pipe();
        let write = commands.cmd("EVAL").arg(WRITE).arg(1).arg(message(id)).arg(ttl);
        for (name, value) in fields {
            write.arg(*name).arg(value);
        }
        commands
    }

    /// Lets an id go that is done with, and lists it where the original does; `anew` also if it is listed there already. The answer says
    /// whether it could be listed.
    pub fn done(&self, id: &[u8], listed: Option<(Registry, i64)>, now: i64, anew: bool) -> Pipeline {
        let registry = self.registry(listed.map_or(Registry::Finished, |(registry, _)| registry));
        let score = listed.map_or_else(String::new, |(registry, ttl)| score(registry, ttl, now));
        let mut commands = pipe();
        let done = commands.cmd("EVAL").arg(DONE).arg(3).arg(&self.taken).arg(&self.wip).arg(registry);
        done.arg(id).arg(score).arg(if anew { "" } else { "NX" });
        commands
    }

    /// Sets an id aside whose key holds no message.
    pub fn refuse(&self, id: &[u8]) -> Pipeline {
        let mut commands = self.done(id, None, 0, false);
        commands.atomic().cmd("RPUSH").arg(&self.refused).arg(id).ignore();
        commands
    }

    /// The key of a registry.
    pub fn registry(&self, registry: Registry) -> &str {
        if registry == Registry::Finished { &self.finished } else { &self.failed }
    }

    /// Where ids are set aside.
    pub fn refused(&self) -> &str {
        &self.refused
    }
}

fn message(id: &[u8]) -> Vec<u8> {
    [b"mq:msg:", id].concat()
}

/// When an entry of a registry has expired, as the original has it: what is kept for ever is infinite among the finished, and negative among
/// the failed.
fn score(registry: Registry, ttl: i64, now: i64) -> String {
    match (registry, ttl) {
        (Registry::Finished, -1) => "+inf".to_owned(),
        (_, ttl) if ttl < 0 => ttl.to_string(),
        _ => (now + ttl).to_string(),
    }
}
