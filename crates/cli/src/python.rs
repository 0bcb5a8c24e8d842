//! The Python that executes user code: which interpreter, and the `riverrun` package that this binary carries.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::CliError;

/// The package's files, relative to its folder.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/python_files.rs"));

const OLDEST: (u32, u32) = (3, 11);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is asked of an interpreter before it is used. The current folder is taken off the path: a folder named
/// `riverrun` in it is not an installed package.
const PROBE: &str = r#"
import sys
found = None
if sys.version_info >= (3, 8):
    sys.path = [p for p in sys.path if p]
    import importlib.metadata
    try:
        found = importlib.metadata.version("riverrun")
    except importlib.metadata.PackageNotFoundError:
        pass
print('{"major": %d, "minor": %d, "installed": %s}' % (sys.version_info[0], sys.version_info[1], '"%s"' % found if found else "null"))
"#;

/// An interpreter that is fit to execute functions.
#[derive(Debug, Clone)]
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// Folder to put on `PYTHONPATH`; none where the package is installed.
    pub package: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Probed {
    major: u32,
    minor: u32,
    installed: Option<String>,
}

/// Chooses the interpreter (`--python`, `RIVERRUN_PYTHON`, the active virtual environment, `python3`) and lends it
/// the package, unless the same version is installed there.
pub fn find(asked: Option<&Path>, data: Option<&Path>) -> Result<Python, CliError> {
    let (program, origin) = choose(asked);
    let probed = probe(&program, origin)?;
    if (probed.major, probed.minor) < OLDEST {
        return Err(CliError::failed(
            format!(
                "{} is Python {}.{}, and Riverrun needs {}.{} or newer",
                program.display(),
                probed.major,
                probed.minor,
                OLDEST.0,
                OLDEST.1
            ),
            format!("give a newer one with --python or RIVERRUN_PYTHON (this one came from {origin})"),
        ));
    }
    let package = match probed.installed {
        Some(version) if version == VERSION => None,
        Some(version) => {
            return Err(CliError::failed(
                format!(
                    "{} has riverrun {version} installed, and this binary is {VERSION}",
                    program.display()
                ),
                format!(
                    "install riverrun=={VERSION} there, or uninstall it: the binary brings its own package"
                ),
            ));
        }
        None => Some(lend(data)?),
    };
    Ok(Python { program, package })
}

fn choose(asked: Option<&Path>) -> (PathBuf, &'static str) {
    if let Some(path) = asked {
        return (path.to_owned(), "--python");
    }
    if let Some(path) = std::env::var_os("RIVERRUN_PYTHON").filter(|path| !path.is_empty()) {
        return (path.into(), "RIVERRUN_PYTHON");
    }
    if let Some(folder) = std::env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()) {
        return (Path::new(&folder).join("bin/python"), "the active virtual environment, VIRTUAL_ENV");
    }
    ("python3".into(), "the search path")
}

fn probe(program: &Path, origin: &str) -> Result<Probed, CliError> {
    let next = "install Python 3.11 or newer, or name one with --python or RIVERRUN_PYTHON";
    let output = Command::new(program).args(["-c", PROBE]).output().map_err(|error| {
        CliError::failed(
            format!(
                "the Python interpreter {} (from {origin}) cannot be started: {error}",
                program.display()
            ),
            next,
        )
    })?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("nothing").to_owned();
        CliError::failed(
            format!(
                "{} (from {origin}) did not answer as a Python interpreter does; it said: {said}",
                program.display()
            ),
            next,
        )
    })
}

/// Writes the package to the cache, once per content, and returns the folder that has `riverrun` in it.
///
/// It is written beside its place and renamed, so that nobody ever sees half of it.
fn lend(data: Option<&Path>) -> Result<PathBuf, CliError> {
    let cache = cache(data)?;
    let place = cache.join(format!("python-{VERSION}-{}", digest()));
    if place.is_dir() {
        return Ok(place);
    }
    private_folder(&cache)?;
    let fresh = tempfile::Builder::new()
        .prefix("python-")
        .tempdir_in(&cache)
        .map_err(|error| CliError::io("write to the cache folder", &cache, &error))?;
    for (name, bytes) in FILES {
        let path = fresh.path().join("riverrun").join(name);
        let folder = path.parent().unwrap_or(fresh.path());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| CliError::io("write the Python package to", &path, &error))?;
    }
    match fs::rename(fresh.path(), &place) {
        // Another process was faster: its copy is the same.
        Err(error) if !place.is_dir() => Err(CliError::io("write the Python package to", &place, &error)),
        _ => Ok(place),
    }
}

/// `$XDG_CACHE_HOME/riverrun`, `~/.cache/riverrun`, or a folder in the data directory.
fn cache(data: Option<&Path>) -> Result<PathBuf, CliError> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(std::env::var_os("XDG_CACHE_HOME"))
        .or_else(|| absolute(std::env::var_os("HOME")).map(|home| home.join(".cache")))
        .map(|base| base.join("riverrun"))
        .or_else(|| data.map(|data| data.join("cache")))
        .ok_or_else(|| {
            CliError::failed(
                "there is no folder for the Python package: neither XDG_CACHE_HOME nor HOME is set",
                "set XDG_CACHE_HOME to a folder that may be written",
            )
        })
}

/// Makes a folder that only its owner may read.
pub fn private_folder(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| CliError::io("create the folder", path, &error))
}

/// Distinguishes builds of one version.
fn digest() -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in FILES {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}
