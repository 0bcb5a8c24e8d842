//! What a data directory says about who serves it: `server.json`, and where its functions were found.
//!
//! The store's lock decides who holds the directory. These files only help others to find the holder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::python::private_folder;

/// Who serves a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Its address.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Where its access token stands, if it wants one and others may read it.
    pub token_file: Option<PathBuf>,
    /// Its version.
    pub version: String,
    /// Made anew with each start, and told by the server itself: another program may listen at the address by now.
    #[serde(default)]
    pub instance: String,
    /// It serves for as long as one command works. What is left behind then is for whoever needs it; a lasting server comes back.
    #[serde(default)]
    pub passing: bool,
}

impl ServerFile {
    /// What the directory says, if it says anything readable.
    pub fn read(data: &Path) -> Option<ServerFile> {
        read_json(&data.join("server.json"))
    }

    /// Removes what a server left behind that did not end in order. Only for who holds the store's lock.
    pub fn clear(data: &Path) {
        let _ = fs::remove_file(data.join("server.json"));
    }

    /// Announces the server until the guard is dropped.
    pub fn announce(self, data: &Path) -> Result<Announced, CliError> {
        let path = data.join("server.json");
        write_private(&path, &json(&self)?)?;
        Ok(Announced { path, file: self })
    }
}

/// An announcement; dropping it takes it back.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
    file: ServerFile,
}

impl Drop for Announced {
    fn drop(&mut self) {
        // A successor may have announced itself already.
        if read_json::<ServerFile>(&self.path).as_ref() == Some(&self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where `run` found the functions of a definition, so that `runs attach` can serve them again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Folders(BTreeMap<String, PathBuf>);

impl Folders {
    /// The folder of a definition's functions.
    pub fn of(data: &Path, definition: &str) -> Option<PathBuf> {
        read_json::<Folders>(&data.join("functions.json"))?.0.remove(definition)
    }

    /// Remembers one.
    pub fn remember(data: &Path, definition: &str, folder: &Path) -> Result<(), CliError> {
        let path = data.join("functions.json");
        let mut folders: Folders = read_json(&path).unwrap_or_default();
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if folders.0.get(definition) != Some(&folder) {
            folders.0.insert(definition.to_owned(), folder);
            write_private(&path, &json(&folders)?)?;
        }
        Ok(())
    }
}

/// Makes the directory, readable for its owner only.
pub fn create(data: &Path) -> Result<(), CliError> {
    if data.exists() && !data.is_dir() {
        return Err(CliError::usage(
            format!("the data directory {} is a file", data.display()),
            "give a folder with --data or RIVERRUN_DATA",
        ));
    }
    private_folder(data)
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let written = private_file(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error| CliError::io("write", path, &error))
}

/// Opens a new, empty file that only its owner may read.
pub fn private_file(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(value).map_err(|error| {
        let next = "give the file or folder a name in UTF-8";
        CliError::usage(format!("where it is cannot be kept for other commands: {error}"), next)
    })
}
