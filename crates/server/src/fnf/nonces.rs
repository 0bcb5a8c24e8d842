//! Nonces of signed requests, remembered so that no request is taken twice.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use riverrun_kernel::Wall;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use crate::config::FnfConfig;

/// How far a request's time may be from the server's, either way. A nonce is remembered until its request would be refused for that.
pub(crate) const WINDOW: Duration = Duration::from_mins(15);

/// Nonces are forgotten a minute's worth at a time.
const MINUTE_MS: i64 = 60_000;

/// The memory.
#[derive(Debug)]
pub(crate) struct Nonces {
    max_nonces: usize,
    seen: Mutex<BTreeMap<i64, HashSet<[u8; 16]>>>,
}

impl Nonces {
    /// Nothing seen yet.
    pub fn new(config: &FnfConfig) -> Self {
        Nonces { max_nonces: config.max_nonces, seen: Mutex::default() }
    }

    /// Takes in a nonce of a request that was made at `made`; refuses one that was seen.
    pub fn take(&self, key_id: &str, nonce: &str, made: Wall, now: Wall) -> Result<(), Fault> {
        let mut hash = Sha256::new();
        hash.update((key_id.len() as u64).to_be_bytes());
        hash.update(key_id);
        hash.update(nonce);
        let digest: [u8; 16] = hash.finalize()[..16].try_into().expect("a digest has 32 bytes");
        let window = WINDOW.as_millis() as i64;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A set may go when all its requests would be refused for their time.
        *seen = seen.split_off(&((now.0 - window) / MINUTE_MS));
        let held: usize = seen.values().map(HashSet::len).sum();
        if held >= self.max_nonces {
            return Err(Fault::throttled(format!(
                "The server remembers {held} nonces, the limit max_nonces: send fewer signed requests, or raise it."
            )));
        }
        if seen.entry(made.0 / MINUTE_MS).or_default().insert(digest) {
            Ok(())
        } else {
            Err(Fault::nonce_used(nonce))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_refused_as_long_as_its_request_could_be_sent_again() {
        let memory = Nonces::new(&FnfConfig::default());
        let window = WINDOW.as_millis() as i64;
        let made = Wall(1_000_000_000);
        // Made by a clock that is ahead by the whole window.
        let early = Wall(made.0 - window);
        memory.take("key", "n", made, early).unwrap();
        assert!(memory.take("key", "n", made, early).is_err());
        assert!(memory.take("key", "n", made, Wall(made.0 + window)).is_err());
        memory.take("key", "m", made, early).unwrap();
        memory.take("other", "n", made, early).unwrap();
        let later = Wall(made.0 + window + 2 * MINUTE_MS);
        memory.take("key", "x", later, later).unwrap();
        assert_eq!(memory.seen.lock().unwrap().len(), 1, "what is too old is forgotten");
    }

    #[test]
    fn a_full_memory_refuses_and_does_not_forget() {
        let memory = Nonces::new(&FnfConfig { max_nonces: 2, ..FnfConfig::default() });
        let now = Wall(1_000_000_000);
        memory.take("key", "a", now, now).unwrap();
        memory.take("key", "b", now, now).unwrap();
        let fault = memory.take("key", "c", now, now).unwrap_err();
        assert!(format!("{fault:?}").contains("max_nonces"), "{fault:?}");
    }
}
