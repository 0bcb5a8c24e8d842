//! Starts: what a client asks for, checked and turned into the kernel's request.

use std::collections::BTreeMap;

use riverrun_kernel::{
    DefinitionKind, DefinitionRef, Fingerprint, Json, KeyId, KeyOptions, Next, OnFailure, OnInput, OnRunning,
    OnSuccess, RunId, RunOptions, Slot, StartKind, StartRun, Ttl, Wall,
};
use serde_json::value::RawValue;

use crate::error::EngineError;

/// The longest namespace, definition name or label name, in bytes.
const MAX_NAME: usize = 255;
/// The most labels of a run.
const MAX_LABELS: usize = 64;
/// The longest label value, in bytes.
const MAX_LABEL: usize = 1024;

/// A start, as a client asks for it.
#[derive(Debug, Clone)]
pub struct Start {
    /// Namespace.
    pub namespace: String,
    /// Definition name.
    pub definition: String,
    /// Which kind, where a flow and a task have the same name. `Some(Task)` also starts a task that no worker has announced yet.
    pub kind: Option<DefinitionKind>,
    /// Which version; the newest by default.
    pub version: Option<String>,
    /// Input; a flow wants an object.
    pub input: Json,
    /// The client's own id: the same id again returns that run. Not with a key.
    pub run: Option<RunId>,
    /// The key.
    pub key: Option<StartKey>,
    /// The rest.
    pub options: RunOptions,
}

/// The key of a start: see `riverrun_kernel::KeyOptions`.
#[derive(Debug, Clone)]
pub struct StartKey {
    /// 1 to 255 bytes.
    pub continue_id: String,
    /// The key is only for the definition's version.
    pub scope_version: bool,
    /// JSON pointers (RFC 6901) into the input that the fingerprint is made of; `None`: all of it.
    pub fingerprint_paths: Option<Vec<String>>,
    /// See `KeyOptions`.
    pub on_success: OnSuccess,
    /// See `KeyOptions`.
    pub on_failure: Option<OnFailure>,
    /// See `KeyOptions`.
    pub on_running: OnRunning,
    /// See `KeyOptions`.
    pub on_input: OnInput,
    /// See `KeyOptions`.
    pub allow_new_input: bool,
    /// See `KeyOptions`.
    pub rerun_purged: bool,
    /// See `KeyOptions`.
    pub force: bool,
    /// See `KeyOptions`.
    pub ttl: Ttl,
    /// See `KeyOptions`.
    pub max_generations: u32,
}

impl StartKey {
    /// The defaults for a key.
    pub fn new(continue_id: impl Into<String>) -> Self {
        StartKey {
            continue_id: continue_id.into(),
            scope_version: false,
            fingerprint_paths: None,
            on_success: OnSuccess::default(),
            on_failure: None,
            on_running: OnRunning::default(),
            on_input: OnInput::default(),
            allow_new_input: false,
            rerun_purged: false,
            force: false,
            ttl: Ttl::DEFAULT,
            max_generations: KeyOptions::MAX_GENERATIONS,
        }
    }

    /// A key that stands for one run, however that ends and whatever the input is.
    pub fn once(continue_id: impl Into<String>) -> Self {
        let (on_failure, on_input) = (Some(OnFailure::Return), OnInput::Ignore);
        StartKey { on_failure, on_input, ..StartKey::new(continue_id) }
    }
}

/// What is to start when a run has succeeded.
#[derive(Debug, Clone)]
pub struct StartNext {
    /// Definition name, in the namespace of the first run.
    pub definition: String,
    /// Which kind; see [`Start::kind`].
    pub kind: Option<DefinitionKind>,
    /// Which version; the newest by default.
    pub version: Option<String>,
    /// Its input; the output of the first run where there is neither this nor `into`.
    pub input: Option<Json>,
    /// The field of its input that gets the output.
    pub into: Option<String>,
    /// The rest.
    pub options: RunOptions,
}

/// A start's answer.
#[derive(Debug, Clone)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// How it was found or made.
    pub kind: StartKind,
    /// The key's generation.
    pub generation: u32,
}

/// Checks a start and makes the kernel's request of it. `entropy` is for the run's id, unless the client brought one.
pub(crate) fn prepare(
    start: Start,
    definition: DefinitionRef,
    timeout_ms: Option<u64>,
    now: Wall,
    entropy: [u8; 16],
) -> Result<StartRun, EngineError> {
    check(&start, &definition)?;
    let key = start.key.as_ref().filter(|key| !key.continue_id.is_empty());
    let key = key.map(|key| key_options(key, &start.input, &definition)).transpose()?;
    let (high, low) = entropy.split_at(8);
    let number = |half: &[u8]| half.iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
    let slot = place(key.as_ref(), &start.options, &definition).unwrap_or(Slot(number(high) as u16));
    let mut options = start.options;
    options.timeout_ms = options.timeout_ms.or(timeout_ms);
    Ok(StartRun {
        run: start.run.unwrap_or_else(|| RunId::new(now.0.max(0) as u64, slot, number(low))),
        client_id: start.run.is_some(),
        definition,
        input: start.input,
        key,
        parent: None,
        options,
    })
}

/// Where a run lives that must live with others: with its key, or with what shares its concurrency key.
fn place(key: Option<&KeyOptions>, options: &RunOptions, definition: &DefinitionRef) -> Option<Slot> {
    key.map(|key| key.id.slot()).or_else(|| options.limiter(definition).map(|limiter| limiter.slot()))
}

/// What is to start when another run has succeeded, checked.
pub(crate) fn prepare_next(
    next: StartNext,
    definition: DefinitionRef,
    timeout_ms: Option<u64>,
) -> Result<Next, EngineError> {
    check_name("definition of `then`", &definition.name)?;
    check_labels(&next.options.labels)?;
    check_queue(&next.options)?;
    let is_object = |input: &Json| input.get().starts_with('{');
    if let Some(field) = &next.into {
        check_name("field `into` of `then`", field)?;
    }
    if next.into.is_some() && !next.input.as_ref().is_none_or(is_object) {
        return Err(EngineError::Invalid(
            "the input of `then` must be a JSON object where `into` puts the output into a field of it"
                .to_owned(),
        ));
    }
    let mut options = next.options;
    options.timeout_ms = options.timeout_ms.or(timeout_ms);
    Ok(Next { definition, input: next.input, into: next.into, options })
}

pub(crate) fn check(start: &Start, definition: &DefinitionRef) -> Result<(), EngineError> {
    check_name("namespace", &start.namespace)?;
    check_name("definition", &start.definition)?;
    check_labels(&start.options.labels)?;
    check_queue(&start.options)?;
    if definition.kind == DefinitionKind::Flow && !start.input.get().starts_with('{') {
        return Err(EngineError::Invalid(format!(
            "the input of flow `{}` must be a JSON object, and is {}",
            definition.name,
            kind_of(start.input.get())
        )));
    }
    let Some(key) = &start.key else { return Ok(()) };
    if key.continue_id.len() > 255 {
        return Err(EngineError::Invalid(format!(
            "continue_id has {} bytes; it may have 1 to 255",
            key.continue_id.len()
        )));
    }
    if start.run.is_some() && !key.continue_id.is_empty() {
        return Err(EngineError::Invalid(
            "a start has a run_id or a continue_id, not both: each makes it safe to repeat".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses a queue that could not be paused or limited by its name. None at all is the usual one.
pub fn check_queue(options: &RunOptions) -> Result<(), EngineError> {
    let queue = options.task.as_ref().map_or("", |task| task.queue.as_str());
    if queue.is_empty() { Ok(()) } else { check_name("queue", queue) }
}

/// Refuses a name that is empty, too long, or holds control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), EngineError> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > MAX_NAME {
        format!("has {} bytes, and may have {MAX_NAME}", name.len())
    } else if name.chars().any(char::is_control) {
        "holds a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(EngineError::Invalid(format!("the {what} {problem}")))
}

/// Refuses labels that are too many or too long.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), EngineError> {
    if labels.len() > MAX_LABELS {
        return Err(EngineError::Invalid(format!(
            "a run may have {MAX_LABELS} labels, not {}",
            labels.len()
        )));
    }
    for (name, value) in labels {
        check_name("name of a label", name)?;
        if value.len() > MAX_LABEL {
            return Err(EngineError::Invalid(format!(
                "label `{name}` has {} bytes, and may have {MAX_LABEL}",
                value.len()
            )));
        }
    }
    Ok(())
}

fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn key_options(key: &StartKey, input: &Json, definition: &DefinitionRef) -> Result<KeyOptions, EngineError> {
    let version = if key.scope_version { definition.version.clone() } else { "".into() };
    let fingerprinted = match &key.fingerprint_paths {
        None => input.get().to_owned(),
        Some(paths) => chosen(input.get(), paths)?,
    };
    let fingerprint = Fingerprint::of(&fingerprinted)
        .map_err(|error| EngineError::Invalid(format!("the input has no canonical form: {error}")))?;
    Ok(KeyOptions {
        id: KeyId {
            namespace: definition.namespace.clone(),
            definition: definition.name.clone(),
            version,
            continue_id: key.continue_id.as_str().into(),
        },
        fingerprint,
        on_success: key.on_success,
        on_failure: key.on_failure,
        on_running: key.on_running,
        on_input: key.on_input,
        allow_new_input: key.allow_new_input,
        rerun_purged: key.rerun_purged,
        force: key.force,
        ttl: key.ttl,
        max_generations: key.max_generations,
        is_name: false,
    })
}

/// An object of the values at `paths`; where a path leads nowhere, `null`. Values stay text, so that no number loses a digit.
fn chosen(input: &str, paths: &[String]) -> Result<String, EngineError> {
    let mut values = BTreeMap::new();
    for path in paths {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(EngineError::Invalid(format!(
                "`{path}` is not a JSON pointer: one is empty or starts with `/`, as in `/order/id`"
            )));
        }
        values.insert(path.as_str(), at(input, path).unwrap_or("null"));
    }
    let fields: Vec<String> =
        values.iter().map(|(path, value)| format!("{}:{value}", serde_json::Value::from(*path))).collect();
    Ok(format!("{{{}}}", fields.join(",")))
}

/// The text that a JSON pointer leads to.
fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let mut text = text;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let raw: &RawValue = match text.trim_start().as_bytes().first()? {
            b'{' => {
                let mut fields: BTreeMap<String, &'a RawValue> = serde_json::from_str(text).ok()?;
                fields.remove(&part)?
            }
            b'[' => {
                let items: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
                items.get(part.parse::<usize>().ok()?).copied()?
            }
            _ => return None,
        };
        text = raw.get();
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_keeps_every_digit_and_a_missing_path_is_null() {
        let input = r#"{"a": {"b/c": [1, 9007199254740993]}, "d": "x"}"#;
        assert_eq!(at(input, "/a/b~1c/1"), Some("9007199254740993"));
        let paths = ["/d".to_owned(), "/nowhere".to_owned()];
        assert_eq!(chosen(input, &paths).unwrap(), r#"{"/d":"x","/nowhere":null}"#);
        assert!(chosen(input, &["d".to_owned()]).is_err());
    }
}
