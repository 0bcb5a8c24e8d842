//! What BaiChuan's API is asked.

use riverrun_engine::{Start, StartKey};
use riverrun_kernel::{DefinitionKind, Fingerprint, Json, Labels, RunOptions, TaskOptions, Ttl};
use schemars::JsonSchema;
use serde::Deserialize;

use super::reply::Trouble;
use crate::app::namespace;
use crate::start::while_in_flight;

/// What the keys of tasks that are created once begin with, so that they meet no `continue_id` by chance.
const UNIQUE: &str = "baichuan/";
/// The label that tells from where a task was created.
pub(super) const IP: &str = "ip";

/// `POST /baichuan/task_create`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BaichuanCreate")]
pub(crate) struct Create {
    /// The task, such as `/demo_api/ping`.
    handler: String,
    /// Its parameters, an object.
    #[schemars(with = "serde_json::Value")]
    params: Json,
    /// Seconds to keep its result for; forever below 0.
    #[serde(default)]
    result_ttl: Option<Seconds>,
    /// Its time limit in seconds; none below 0, and unless given.
    #[serde(default)]
    timeout: Option<Seconds>,
    /// `yes`: the same task with the same parameters that is queued or executing is not created again; its id is the answer.
    #[serde(default)]
    msg_create_unique: Option<String>,
}

/// `GET /baichuan/task_get`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BaichuanGet")]
pub(crate) struct Get {
    /// The id that `task_create` gave.
    pub(super) task_id: String,
}

/// A number of seconds, which may also be written as a text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a whole number of seconds")]
#[schemars(inline)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Seconds {
    fn read(&self, name: &str) -> Result<i64, Trouble> {
        match self {
            Seconds::Number(number) => Ok(*number),
            Seconds::Text(text) => text.trim().parse().map_err(|_| {
                Trouble::bad_params(format!("{name} is `{text}`: expected a whole number of seconds"))
            }),
        }
    }
}

impl Create {
    /// The start of its run.
    pub(super) fn into_start(self, ip: &str) -> Result<Start, Trouble> {
        if self.handler.is_empty() {
            return Err(Trouble::bad_params("handler is empty: name the task, such as /demo_api/ping"));
        }
        if !self.params.get().starts_with('{') {
            return Err(Trouble::bad_params("params must be an object with a key per parameter"));
        }
        let key = self.is_unique()?.then(|| unique(&self.params)).transpose()?;
        let timeout_ms = match self.timeout.as_ref().map(|timeout| timeout.read("timeout")).transpose()? {
            Some(0) => return Err(Trouble::bad_params("timeout is 0: nothing can be done in no time")),
            Some(seconds @ 1..) => Some(seconds.unsigned_abs().saturating_mul(1_000)),
            _ => None,
        };
        let task = TaskOptions { timeout_ms, ..TaskOptions::default() };
        let kept = self.kept()?;
        let options = RunOptions {
            labels: Labels::from([(IP.to_owned(), ip.to_owned())]),
            result_ttl: kept,
            failure_ttl: kept,
            task: Some(task),
            ..RunOptions::default()
        };
        Ok(Start {
            namespace: namespace(None),
            definition: self.handler,
            kind: Some(DefinitionKind::Task),
            version: None,
            input: self.params,
            run: None,
            key,
            options,
        })
    }

    fn is_unique(&self) -> Result<bool, Trouble> {
        match self.msg_create_unique.as_deref() {
            Some("yes") => Ok(true),
            None | Some("no" | "") => Ok(false),
            Some(other) => {
                Err(Trouble::bad_params(format!("msg_create_unique is `{other}`: expected `yes` or `no`")))
            }
        }
    }

    /// How long the outcome is kept, if that was said.
    fn kept(&self) -> Result<Option<Ttl>, Trouble> {
        let seconds = self.result_ttl.as_ref().map(|ttl| ttl.read("result_ttl")).transpose()?;
        Ok(seconds.map(|seconds| match u64::try_from(seconds) {
            Ok(seconds) => Ttl::Ms(seconds.saturating_mul(1_000)),
            Err(_) => Ttl::Forever,
        }))
    }
}

/// The key of a task that is created once: it holds while the task is open.
fn unique(params: &Json) -> Result<StartKey, Trouble> {
    let fingerprint = Fingerprint::of(params.get())
        .map_err(|error| Trouble::bad_params(format!("params has no canonical form: {error}")))?;
    Ok(while_in_flight(format!("{UNIQUE}{fingerprint}")))
}
