//! The server's configuration file: what does not fit on a command line. Secrets stand in files of their own or in the environment, and are
//! named here.

mod addresses;
mod callbacks;
mod flows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use riverrun_bridge::Settings;
use riverrun_server::{AccessKey, CallConfig, CallbackConfig, FnfConfig};
use serde::Deserialize;

use crate::error::CliError;

/// The file that is read where none is named, if it is there.
const STANDARD: &str = "riverrun.toml";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    fnf: Fnf,
    http: addresses::Http,
    functions: BTreeMap<String, addresses::Function>,
    callbacks: callbacks::Callbacks,
    flows: flows::Flows,
    bridge: Bridge,
}

/// `[fnf]`: the Serverless Workflow RPC API.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fnf {
    access_keys: Vec<NamedKey>,
    max_nonces: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedKey {
    id: String,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

/// `[bridge]`: other queues.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bridge {
    redis: Option<Redis>,
}

/// `[bridge.redis]`: BaiChuan's Redis.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redis {
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    queues: Vec<String>,
    namespace: Option<String>,
    name: Option<String>,
    max_taken: Option<usize>,
    max_data: Option<usize>,
}

/// What a configuration file says.
#[derive(Debug, Default)]
pub struct Config {
    /// BaiChuan's Redis, where there is one.
    pub redis: Option<Settings>,
    /// The Serverless Workflow RPC API.
    pub fnf: FnfConfig,
    /// Functions that have an address.
    pub calls: CallConfig,
    /// Addresses that are told how runs have ended.
    pub callbacks: CallbackConfig,
    /// What flows may ask for.
    pub flows: flows::Flows,
}

/// Reads a configuration file, the one in this folder where none is named, and the secrets that it names.
pub fn read(named: Option<&Path>) -> Result<Config, CliError> {
    let path = named.unwrap_or(Path::new(STANDARD));
    if named.is_none() && !path.exists() {
        return Ok(Config::default());
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::named_file("read the configuration", path, &error))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        // The error's own text shows the line, which may be one with a secret in it: the place and the reason are enough.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        CliError::usage(
            format!("the configuration {} is not valid: line {line}: {}", path.display(), error.message()),
            "docs/guides/operations.md tells what may stand in it",
        )
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let keys = file.fnf.access_keys.into_iter().map(|key| access_key(folder, key));
    let defaults = FnfConfig::default();
    Ok(Config {
        flows: file.flows,
        calls: addresses::calls(path, file.http, file.functions)?,
        callbacks: callbacks::callbacks(path, file.callbacks)?,
        redis: file.bridge.redis.map(|redis| redis_settings(folder, redis)).transpose()?,
        fnf: FnfConfig {
            access_keys: keys.collect::<Result<_, _>>()?,
            max_nonces: file.fnf.max_nonces.unwrap_or(defaults.max_nonces),
        },
    })
}

/// The address may hold a password, and may therefore stand elsewhere.
fn redis_settings(folder: &Path, redis: Redis) -> Result<Settings, CliError> {
    let url = match (redis.url, redis.url_file, redis.url_env) {
        (Some(url), None, None) => url,
        (None, Some(file), None) => {
            let file = folder.join(file);
            std::fs::read_to_string(&file)
                .map_err(|error| CliError::named_file("read the url of [bridge.redis]:", &file, &error))?
        }
        (None, None, Some(variable)) => std::env::var(&variable).map_err(|_| {
            CliError::usage(
                format!("the url of [bridge.redis] is to be in {variable}, which is not set"),
                "set that variable of the environment",
            )
        })?,
        _ => {
            return Err(CliError::usage(
                "[bridge.redis] must have one of url, url_file and url_env",
                "write where the Redis is, as in url = \"redis://localhost:6379/0\"",
            ));
        }
    };
    let defaults = Settings::new(url.trim(), redis.queues);
    Ok(Settings {
        namespace: redis.namespace.unwrap_or(defaults.namespace),
        name: redis.name.unwrap_or(defaults.name),
        max_taken: redis.max_taken.unwrap_or(defaults.max_taken),
        max_data: redis.max_data.unwrap_or(defaults.max_data),
        url: defaults.url,
        queues: defaults.queues,
        port: defaults.port,
        refresh: defaults.refresh,
    })
}

/// Relative paths are those of the configuration's folder.
fn access_key(folder: &Path, key: NamedKey) -> Result<AccessKey, CliError> {
    let NamedKey { id, secret_file, secret_env } = key;
    let secret = match (secret_file, secret_env) {
        (Some(file), None) => {
            let file = folder.join(file);
            std::fs::read_to_string(&file).map_err(|error| {
                CliError::named_file(&format!("read the secret of the access key {id}:"), &file, &error)
            })?
        }
        (None, Some(variable)) => std::env::var(&variable).map_err(|_| {
            CliError::usage(
                format!("the secret of the access key {id} is to be in {variable}, which is not set"),
                "set that variable of the environment",
            )
        })?,
        _ => {
            return Err(CliError::usage(
                format!("the access key {id} must name either secret_file or secret_env"),
                "write where its secret stands; the configuration itself holds none",
            ));
        }
    };
    let key = AccessKey { id, secret: secret.trim().to_owned() };
    if key.is_strong() {
        return Ok(key);
    }
    Err(CliError::usage(
        format!("the access key {} is of no use", key.id),
        "an id must be visible ASCII, a secret must have at least 12 characters, all of them visible ASCII",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Config, CliError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), "secret-EXAMPLE\n").expect("written");
        std::fs::write(folder.path().join("short"), "secret\n").expect("written");
        std::fs::write(folder.path().join("signing"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
            .expect("written");
        let path = folder.path().join("riverrun.toml");
        std::fs::write(&path, text).expect("written");
        read(Some(&path))
    }

    #[test]
    fn a_redis_is_named_here_or_elsewhere_and_not_twice() {
        let redis = |text: &str| read_text(&format!("[bridge.redis]\nqueues = [\"/a\"]\n{text}"));
        let given = redis("url = \"redis://h/1\"\nmax_taken = 7").expect("valid").redis.expect("given");
        assert_eq!(
            (given.url.as_str(), given.max_taken, given.name.as_str()),
            ("redis://h/1", 7, "riverrun")
        );
        let elsewhere = redis("url_file = \"secret\"").expect("valid").redis.expect("given");
        assert_eq!(elsewhere.url, "secret-EXAMPLE");
        assert!(redis("").is_err());
        assert!(redis("url = \"redis://h\"\nurl_file = \"secret\"").is_err());
        assert!(read_text("[bridge.redis]\nurl = \"redis://h\"").is_err());
    }

    #[test]
    fn keys_come_with_their_secrets() {
        let config = read_text("[fnf]\naccess_keys = [{ id = \"A\", secret_file = \"secret\" }]\n").unwrap();
        let [key] = &config.fnf.access_keys[..] else { panic!("one key") };
        assert_eq!((&*key.id, &*key.secret), ("A", "secret-EXAMPLE"));
        assert_eq!(config.fnf.max_nonces, FnfConfig::default().max_nonces);
        assert!(!format!("{config:?}").contains("secret-EXAMPLE"));
        assert_eq!(read_text("[fnf]\nmax_nonces = 5\n").unwrap().fnf.max_nonces, 5);
        assert!(read_text("").unwrap().fnf.access_keys.is_empty());
        assert!(read(None).unwrap().fnf.access_keys.is_empty());
    }

    #[test]
    fn secrets_of_callbacks_are_read_and_shown_to_nobody() {
        let text =
            "[callbacks]\nsecrets = [{ file = \"signing\" }, { file = \"signing\" }]\ntimeout = \"5s\"\n";
        let callbacks = read_text(text).unwrap().callbacks;
        assert_eq!((callbacks.secrets.len(), callbacks.timeout.as_secs()), (2, 5));
        assert!(!format!("{callbacks:?}").contains("MfKQ"));
        assert!(read_text("").unwrap().callbacks.secrets.is_empty());
        for (secrets, expected) in [
            ("{ env = \"RIVERRUN_NO_SUCH\" }", "RIVERRUN_NO_SUCH"),
            ("{}", "env and file"),
            ("{ file = \"secret\" }", "openssl"),
        ] {
            let error = read_text(&format!("[callbacks]\nsecrets = [{secrets}]\n")).unwrap_err();
            let whole = format!("{} {}", error.message, error.next);
            assert!(whole.contains(expected) && !whole.contains("secret-EXAMPLE"), "{whole}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            ("[fnf]\naccess_key = []\n", "line 2"),
            ("[ffn]\n", "ffn"),
            ("[fnf]\naccess_keys = [{ id = \"A\" }]\n", "secret_file or secret_env"),
            ("[fnf]\naccess_keys = [{ id = \"A\", secret = \"x\" }]\n", "line 2"),
            ("[fnf]\naccess_keys = [{ id = \"A\", secret_file = \"nowhere\" }]\n", "nowhere"),
            ("[fnf]\naccess_keys = [{ id = \"A\", secret_file = \"short\" }]\n", "access key A"),
            (
                "[fnf]\naccess_keys = [{ id = \"A\", secret_env = \"RIVERRUN_NO_SUCH\" }]\n",
                "RIVERRUN_NO_SUCH",
            ),
        ];
        for (text, expected) in cases {
            let error = read_text(text).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
            assert_eq!(error.exit, crate::exit::Exit::Usage);
        }
    }
}
