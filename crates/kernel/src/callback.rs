//! Callbacks: an address that wants to know how a run has ended.
//!
//! Telling it is a task of its own, started in the commit that ends the run. So it waits, is tried again, fails and is shown as any other
//! task is. What is sent and how it is signed is decided where it is sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{RunOptions, TaskOptions};
use crate::definition::{DefinitionKind, DefinitionRef};
use crate::driver::RetryPolicy;
use crate::json::Json;
use crate::keys::Ttl;
use crate::limits::CallLimit;
use crate::run::{Labels, RunView};

/// Names that begin so are Riverrun's own: nobody starts or serves such a task but the server itself.
pub const RESERVED: &str = "riverrun:";
/// The task that tells an address.
pub const CALLBACK: &str = "riverrun:callback";
/// The queue that such tasks stand in.
pub const QUEUE: &str = "riverrun:callbacks";
/// The label that names the run that has ended.
pub const LABEL: &str = "callback_of";

/// Tries after the first: with the waits below they take 23 hours at most.
const RETRIES: u32 = 32;
const FIRST_WAIT_MS: u64 = 5_000;
const LONGEST_WAIT_MS: u64 = 3_600_000;
/// How long what was told is kept. What could not be told is kept as any failed task.
const KEPT_MS: u64 = 24 * 3_600_000;
/// Calls at once of one host, so that a slow one holds up nobody else.
const AT_ONCE: u32 = 8;
/// The longest name of a host that is told apart.
const MAX_HOST: usize = 200;

/// The input of [`CALLBACK`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The address.
    pub url: Arc<str>,
    /// The run as it ended, so that what is told does not change while it is told.
    pub run: RunView,
}

/// The task that tells `url` how a run has ended: what it is, its input, and how it is run.
pub(crate) fn delivery(url: &Arc<str>, run: RunView) -> (DefinitionRef, Json, RunOptions) {
    let definition = DefinitionRef {
        namespace: run.summary.definition.namespace.clone(),
        kind: DefinitionKind::Task,
        name: CALLBACK.into(),
        version: "".into(),
    };
    let labels = Labels::from([(LABEL.to_owned(), run.summary.id.to_string())]);
    let delivery = Delivery { url: url.clone(), run };
    let input = serde_json::to_string(&delivery).expect("a view has text for keys and JSON for values");
    let limit = CallLimit { key: limiter(url).into(), max_running: Some(AT_ONCE), rate: None };
    let task = TaskOptions {
        queue: QUEUE.to_owned(),
        retry: vec![RetryPolicy {
            max_retries: RETRIES,
            interval_ms: FIRST_WAIT_MS,
            multiplier: 2.0,
            max_interval_ms: LONGEST_WAIT_MS,
            jitter: true,
            ..RetryPolicy::default()
        }],
        // It is not to blame for the end of the server's process, and the address knows each by its id.
        max_crashes: Some(u32::MAX),
        limit: Some(Arc::new(limit)),
        ..TaskOptions::default()
    };
    let options =
        RunOptions { labels, result_ttl: Some(Ttl::Ms(KEPT_MS)), task: Some(task), ..RunOptions::default() };
    (definition, Json::trusted(input), options)
}

/// How long to wait after so many tries where the address says itself how long: not so short that it is given up within minutes.
pub fn wait_ms(asked_ms: u64, tries: u32) -> u64 {
    let longest = FIRST_WAIT_MS.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(LONGEST_WAIT_MS);
    asked_ms.max(longest / 2)
}

/// The concurrency key of calls of one host.
fn limiter(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let end = (0..=MAX_HOST.min(host.len())).rev().find(|at| host.is_char_boundary(*at)).unwrap_or(0);
    format!("{CALLBACK}/{}", &host[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_asks_for_short_waits_is_not_given_up_sooner() {
        assert_eq!(
            [1, 2, 3, 11, 33].map(|tries| wait_ms(1_000, tries)),
            [2_500, 5_000, 10_000, 1_800_000, 1_800_000]
        );
        assert_eq!(wait_ms(7_200_000, 33), 7_200_000);
    }

    #[test]
    fn calls_of_one_host_share_a_key() {
        assert_eq!(limiter("https://Example.com:8443/a?b=c"), "riverrun:callback/example.com:8443");
        assert_eq!(limiter("http://example.com"), "riverrun:callback/example.com");
        assert!(limiter(&format!("https://{}/", "ü".repeat(500))).len() <= 255);
    }
}
