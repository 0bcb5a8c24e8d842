//! `[http]` and `[functions]`: functions that have an address, and how addresses are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use riverrun_server::{Address, CallConfig};
use riverrun_wire::http::Duration;
use serde::Deserialize;

use crate::error::CliError;

/// `[http]`: what is the same for all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    allowed_hosts: Vec<String>,
    max_calls: Option<u32>,
    timeout: Option<Duration>,
    max_answer: Option<usize>,
    ca_file: Option<PathBuf>,
}

/// `[functions."NAME"]`: one function.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Function {
    url: Option<String>,
    timeout: Option<Duration>,
    headers: BTreeMap<String, Value>,
}

/// A header's value, or where it is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Env(FromEnv),
    File(FromFile),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromEnv {
    env: String,
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromFile {
    file: PathBuf,
    #[serde(default)]
    prefix: String,
}

/// How addresses are called.
pub(super) fn calls(
    path: &Path,
    http: Http,
    functions: BTreeMap<String, Function>,
) -> Result<CallConfig, CliError> {
    let usual = CallConfig::default();
    let functions = functions.into_iter().map(|(name, function)| {
        let address = address(path, &name, function)?;
        Ok((name, address))
    });
    let calls = CallConfig {
        functions: functions.collect::<Result<_, CliError>>()?,
        allowed_hosts: http.allowed_hosts,
        max_calls: http.max_calls.unwrap_or(usual.max_calls).max(1),
        timeout: http.timeout.map_or(usual.timeout, Duration::to_std),
        max_answer: http.max_answer.unwrap_or(usual.max_answer),
        authorities: http.ca_file.map(|file| authorities(path, &file)).transpose()?,
    };
    calls.check().map_err(|error| {
        CliError::usage(
            format!("{}: {error}", path.display()),
            "mend the address, or the setting that forbids it",
        )
    })?;
    Ok(calls)
}

/// A file is looked for beside the configuration.
fn beside(path: &Path, file: &Path) -> PathBuf {
    path.parent().map_or_else(|| file.to_path_buf(), |folder| folder.join(file))
}

fn authorities(path: &Path, file: &Path) -> Result<String, CliError> {
    let file = beside(path, file);
    std::fs::read_to_string(&file)
        .map_err(|error| CliError::named_file("read ca_file of [http]:", &file, &error))
}

fn address(path: &Path, name: &str, function: Function) -> Result<Address, CliError> {
    let is_address = name.starts_with("http://") || name.starts_with("https://");
    let url = function.url.or_else(|| is_address.then(|| name.to_owned())).ok_or_else(|| {
        CliError::usage(
            format!("{}: the function `{name}` has no url", path.display()),
            format!("write `[functions.\"{name}\"]` and below it `url = \"https://HOST/PATH\"`"),
        )
    })?;
    let headers = function.headers.into_iter().map(|(header, value)| {
        let value = read(path, name, &header, value)?;
        Ok((header, value))
    });
    let headers = headers.collect::<Result<_, CliError>>()?;
    Ok(Address { url, headers, timeout: function.timeout.map(Duration::to_std) })
}

fn read(path: &Path, name: &str, header: &str, value: Value) -> Result<String, CliError> {
    let (prefix, secret) = match value {
        Value::Text(text) => return Ok(text),
        Value::Env(FromEnv { env, prefix }) => {
            let secret = std::env::var(&env).map_err(|_| {
                CliError::usage(
                    format!(
                        "the header {header} of `{name}` is in the environment variable {env}, which is not set"
                    ),
                    format!("set {env}, or take the header out of {}", path.display()),
                )
            })?;
            (prefix, secret)
        }
        Value::File(FromFile { file, prefix }) => {
            let file = beside(path, &file);
            let secret = std::fs::read_to_string(&file)
                .map_err(|error| CliError::named_file("read the secret", &file, &error))?;
            (prefix, secret)
        }
    };
    Ok(format!("{prefix}{}", secret.trim()))
}
