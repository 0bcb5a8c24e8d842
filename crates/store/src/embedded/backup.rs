//! Backups: a directory with the database as it was at one moment, and a manifest that says what it must look like.
//!
//! A backup is made in two steps, so that one that was cut off is never taken for a whole one: the database under a name of its own,
//! then its real name and, last of all, the manifest. A restore works in a directory within the new one, and moves what it has
//! checked. Main types: [`Backup`], [`Snapshot`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use riverrun_kernel::Wall;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lock::DirectoryLock;
use super::notes::Notes;
use super::{EmbeddedStore, maintenance, schema, sql, unavailable};
use crate::{Store, StoreError, Verified};

/// The version of the layout of a backup.
const FORMAT: u32 = 1;
/// The database. It is not named as a store's is, so that no backup is served by mistake, and no store taken for a backup.
const DATABASE: &str = "backup.db";
/// The same while it is not complete.
const PART: &str = "backup.db.part";
/// What is written last.
const MANIFEST: &str = "manifest.json";
/// Where a restore works until everything is checked.
const RESTORING: &str = "restoring";

/// What a backup must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the backup's layout.
    pub format: u32,
    /// The version of Riverrun that made it.
    pub version: String,
    /// When it was made.
    pub made: Wall,
    /// Bytes of its database.
    pub bytes: u64,
    /// SHA-256 of its database, in hexadecimal digits.
    pub sha256: String,
}

/// A store as it was at one moment: a file that has no name any more, and goes when it is closed.
#[derive(Debug)]
pub struct Snapshot {
    /// The database.
    pub file: File,
    /// What it must look like.
    pub manifest: Manifest,
}

/// A backup that is being made in a directory.
#[derive(Debug)]
pub struct Backup {
    dir: PathBuf,
}

impl Backup {
    /// Begins a backup in `dir`, which is made; one that is there must be empty, or hold what a backup left that was cut off.
    pub fn begin(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        let leftovers: &[&str] =
            if dir.join(MANIFEST).exists() { &[] } else { &[DATABASE, "manifest.json.part"] };
        make_room(&dir, leftovers, "a backup")?;
        Ok(Backup { dir })
    }

    /// Where the database is to be written.
    pub fn part(&self) -> PathBuf {
        self.dir.join(PART)
    }

    /// Completes it. With `expected` it must be the same database as that.
    pub fn complete(self, expected: Option<&Manifest>) -> Result<Manifest, StoreError> {
        let part = self.part();
        let found = describe(&part)?;
        if let Some(expected) = expected
            && (expected.bytes, &expected.sha256) != (found.bytes, &found.sha256)
        {
            return Err(StoreError::Corrupt(format!(
                "{} has {} bytes with SHA-256 {}, and {} bytes with {} were sent",
                part.display(),
                found.bytes,
                found.sha256,
                expected.bytes,
                expected.sha256
            )));
        }
        let manifest = expected.cloned().unwrap_or(found);
        let database = self.dir.join(DATABASE);
        sync(&part)?;
        fs::rename(&part, &database).map_err(|error| unavailable("rename", &part, &error))?;
        write_manifest(&self.dir, &manifest)?;
        schema::sync_dir(&self.dir)?;
        Ok(manifest)
    }
}

impl EmbeddedStore {
    /// Writes the whole store, as it is at one moment, into a database of its own. Writers go on meanwhile.
    pub fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        // A connection of its own: the copy may take long, and what is pooled is for reads that do not.
        let connection = schema::connect(self.dir())?;
        private_file(file).map_err(|error| unavailable("create", file, &error))?;
        let path = file
            .to_str()
            .ok_or_else(|| StoreError::Unavailable(format!("the path {} is not UTF-8", file.display())))?;
        connection.execute("VACUUM INTO ?", [path]).map_err(sql)?;
        sync(file)
    }

    /// A copy of the store in a file without a name.
    pub(super) fn unnamed_copy(&self) -> Result<Snapshot, StoreError> {
        let path = self.dir().join(format!("snapshot-{}.part", hex(&schema::random::<8>()?)));
        let opened = self.copy_into(&path).and_then(|()| {
            let manifest = describe(&path)?;
            let file = File::open(&path).map_err(|error| unavailable("open", &path, &error))?;
            Ok(Snapshot { file, manifest })
        });
        // Whether or not that went well: what is open stays readable without a name.
        for name in [path.clone(), with_suffix(&path, "-journal")] {
            if let Err(error) = fs::remove_file(&name)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %name.display(), %error, "a temporary copy was not removed");
            }
        }
        opened
    }

    /// Makes a store in `data` from the backup in `source`: the same runs, ids and tokens, as a new incarnation. `data` must be empty,
    /// or not be there. Everything is checked before the store gets its name.
    pub fn restore(source: &Path, data: &Path) -> Result<(Manifest, Verified), StoreError> {
        let manifest = read_manifest(source)?;
        let leftovers = || -> &[&str] {
            if EmbeddedStore::is_in(data) { &[] } else { &[RESTORING, "acknowledged", "lock"] }
        };
        make_dir(data)?;
        in_the_way(data, leftovers(), "a restored store")?;
        // From here on nobody else can make a store of it.
        let _lock = DirectoryLock::take(data)?;
        for path in in_the_way(data, leftovers(), "a restored store")? {
            if !path.ends_with("lock") {
                remove(&path)?;
            }
        }
        let work = data.join(RESTORING);
        make_dir(&work)?;
        let restored = restore_into(source, &work, &manifest).and_then(|verified| {
            for name in ["acknowledged", "riverrun.db"] {
                let (from, to) = (work.join(name), data.join(name));
                fs::rename(&from, &to).map_err(|error| unavailable("rename", &from, &error))?;
            }
            Ok(verified)
        });
        let removed = fs::remove_dir_all(&work).map_err(|error| unavailable("remove", &work, &error));
        let verified = restored?;
        removed?;
        schema::sync_dir(data)?;
        Ok((manifest, verified))
    }
}

/// Copies the database, checks it against the manifest, makes it another incarnation, and reads all of it.
fn restore_into(source: &Path, work: &Path, manifest: &Manifest) -> Result<Verified, StoreError> {
    let from = source.join(DATABASE);
    let to = schema::database(work);
    copy(&from, &to)?;
    let found = describe(&to)?;
    if (found.bytes, &found.sha256) != (manifest.bytes, &manifest.sha256) {
        return Err(StoreError::Corrupt(format!(
            "{} has {} bytes with SHA-256 {}, and the manifest beside it says {} bytes with {}: the backup was changed or cut short",
            from.display(),
            found.bytes,
            found.sha256,
            manifest.bytes,
            manifest.sha256
        )));
    }
    let mut connection = schema::connect(work)?;
    let mut identity = schema::identify(&mut connection, 1)?;
    // Notes of what the original acknowledged later must not be held against the copy.
    identity.incarnation = schema::random()?;
    schema::write_identity(&connection, &identity)?;
    maintenance::truncate(&connection)?;
    drop(connection);
    Notes::renew(work, identity.incarnation)?;
    let verified = EmbeddedStore::open(work)?.verify()?;
    let log = with_suffix(&to, "-wal");
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        return Err(StoreError::Unavailable(format!("{} was not taken in by the database", log.display())));
    }
    sync(&to)?;
    Ok(verified)
}

/// Removes what a process left behind that was killed while it made a copy, or at the very end of a restore. Only for who holds the directory's lock.
pub(super) fn remove_leftovers(dir: &Path) {
    let _ = fs::remove_dir_all(dir.join(RESTORING));
    let Ok(entries) = dir.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours =
            name.to_str().is_some_and(|name| name.starts_with("snapshot-") && name.contains(".part"));
        if is_ours && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(file = %entry.path().display(), %error, "a temporary copy was not removed");
        }
    }
}

/// Makes a directory, or empties one of what an attempt that was cut off left there.
fn make_room(dir: &Path, leftovers: &[&str], what: &str) -> Result<(), StoreError> {
    make_dir(dir)?;
    in_the_way(dir, leftovers, what)?.iter().try_for_each(|path| remove(path))
}

/// What such an attempt left. Anything else in the directory is refused.
fn in_the_way(dir: &Path, leftovers: &[&str], what: &str) -> Result<Vec<PathBuf>, StoreError> {
    let mut left = Vec::new();
    for entry in dir.read_dir().map_err(|error| unavailable("read", dir, &error))? {
        let entry = entry.map_err(|error| unavailable("read", dir, &error))?;
        let name = entry.file_name();
        let is_left = |name: &str| leftovers.iter().any(|leftover| name.starts_with(leftover));
        if !name.to_str().is_some_and(is_left) {
            return Err(StoreError::Occupied(format!(
                "{} is not empty (there is `{}`), and {what} wants a directory of its own: name a new one",
                dir.display(),
                name.to_string_lossy()
            )));
        }
        left.push(entry.path());
    }
    Ok(left)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| unavailable("remove", path, &error))
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|error| unavailable("create", dir, &error))
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| unavailable("sync", path, &error))
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = File::open(from).map_err(|error| unavailable("open", from, &error))?;
    private_file(to)
        .and_then(|mut file| io::copy(&mut source, &mut file).and_then(|_| file.sync_all()))
        .map_err(|error| unavailable("write", to, &error))
}

/// The manifest of a database file, as it is.
fn describe(path: &Path) -> Result<Manifest, StoreError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    let mut file = File::open(path).map_err(|error| unavailable("open", path, &error))?;
    loop {
        match file.read(&mut buffer).map_err(|error| unavailable("read", path, &error))? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made: Wall(since.as_millis() as i64),
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let (fresh, path) = (dir.join("manifest.json.part"), dir.join(MANIFEST));
    let text = serde_json::to_string_pretty(manifest).expect("texts and numbers are JSON");
    private_file(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, &path))
        .map_err(|error| unavailable("write", &path, &error))
}

fn read_manifest(dir: &Path) -> Result<Manifest, StoreError> {
    let path = dir.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Corrupt(format!(
            "there is no {}: this is no backup, or one that was cut off before it was complete",
            path.display()
        )),
        _ => unavailable("read", &path, &error),
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| StoreError::Corrupt(format!("{} cannot be read: {error}", path.display())))?;
    if manifest.format > FORMAT {
        return Err(StoreError::NewerVersion(format!(
            "the backup in {} has format {} and was made by riverrun {}; this version ({}) reads formats up to {FORMAT}",
            dir.display(),
            manifest.format,
            manifest.version,
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(manifest)
}
