//! Other queues beside Riverrun's own: BaiChuan's Redis.
//!
//! Existing producers push to Redis, existing readers look there for what became of it, and neither knows that Riverrun does the work. The
//! bridge uses the engine as the HTTP handlers do; it decides nothing about runs. What is documented about the keys is in
//! `docs/guides/baichuan.md`. Main type: [`Bridge`].
//!
//! A message goes through these steps, and a crash between any two of them loses nothing and runs nothing twice:
//!
//! 1. `BLMOVE` takes its id from the producers' list to a list of the bridge's own (`take`). From there on the id is found again at
//!    every start and after every loss of the connection.
//! 2. Its hash is read and checked (`message`), and a run is started under a key made from the id (`carry`): the same id finds that run.
//! 3. What becomes of the run is written to the hash, provided that the hash is still there (`keys`).
//! 4. The id leaves the bridge's own list.

mod bridge;
mod carry;
mod counters;
mod keys;
mod link;
mod message;
pub mod pickle;
mod settings;
mod take;

pub use bridge::Bridge;
pub use settings::{InvalidSettings, Settings};
