//! `[callbacks]`: addresses that are told how runs have ended.

use std::path::{Path, PathBuf};

use riverrun_server::{CallbackConfig, CallbackSecret};
use riverrun_wire::http::Duration;
use serde::Deserialize;

use crate::error::CliError;

/// The section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Callbacks {
    secrets: Vec<Place>,
    timeout: Option<Duration>,
    max_deliveries: Option<u32>,
}

/// Where a secret stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    env: Option<String>,
    file: Option<PathBuf>,
}

/// How addresses are told.
pub(super) fn callbacks(path: &Path, given: Callbacks) -> Result<CallbackConfig, CliError> {
    let usual = CallbackConfig::default();
    Ok(CallbackConfig {
        secrets: given.secrets.into_iter().map(|place| secret(path, place)).collect::<Result<_, _>>()?,
        timeout: given.timeout.map_or(usual.timeout, Duration::to_std),
        max_deliveries: given.max_deliveries.unwrap_or(usual.max_deliveries).max(1),
    })
}

fn secret(path: &Path, place: Place) -> Result<CallbackSecret, CliError> {
    let (named, text) = match (place.env, place.file) {
        (Some(env), None) => {
            let text = std::env::var(&env).map_err(|_| {
                CliError::usage(
                    format!("a secret of [callbacks] is to be in {env}, which is not set"),
                    "set that variable of the environment",
                )
            })?;
            (env, text)
        }
        (None, Some(file)) => {
            // A file is looked for beside the configuration.
            let file = path.parent().map_or_else(|| file.clone(), |folder| folder.join(&file));
            let text = std::fs::read_to_string(&file)
                .map_err(|error| CliError::named_file("read the secret of [callbacks]:", &file, &error))?;
            (file.display().to_string(), text)
        }
        _ => {
            return Err(CliError::usage(
                "a secret of [callbacks] must have one of env and file",
                "write where it stands, as in secrets = [{ env = \"RIVERRUN_CALLBACK_SECRET\" }]; the configuration itself holds none",
            ));
        }
    };
    CallbackSecret::parse(&text).map_err(|problem| {
        CliError::usage(
            format!("the secret of [callbacks] in {named} is of no use: {problem}"),
            "make one, and give the same to whoever is called",
        )
    })
}
