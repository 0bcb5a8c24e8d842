//! A process whose disk is watched, and which does what a story says.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use riverrun_store::{AppendError, EmbeddedStore, Epoch, Store, StoreError};
use tempfile::TempDir;

use super::story::{self, Deed, Failure};

/// The file in which a process marks its deeds. It is traced with the others, which gives the deeds their place in time.
pub const MARKS: &str = "marks";

/// Folders for stores: in memory where the system has such a place, since a store syncs a lot.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary directory")
}

/// The library that watches, compiled with what compiles SQLite too.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/disk/disk.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .expect("a C compiler");
        assert!(compiled.success(), "disk.c is compiled");
        library
    })
}

/// Where a watched store and its trace are.
pub struct Watched {
    pub folder: TempDir,
}

impl Watched {
    pub fn new() -> Watched {
        let folder = folder();
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        Watched { folder }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// Lets a process do deeds; `first` is the place of the first of them in the whole story. `fault` is for `disk.c`.
    /// Answers with what it said at its end.
    pub fn process(&self, deeds: &[Deed], first: usize, fault: Option<&str>) -> String {
        let deeds: Vec<String> = deeds.iter().map(Deed::to_string).collect();
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", "disk::watched::a_process_of_the_story", "--ignored", "--nocapture"])
            .env("LD_PRELOAD", library())
            .env("DISK_DIR", self.data())
            .env("DISK_TRACE", self.trace())
            .env("STORY_DIR", self.data())
            .env("STORY_FIRST", first.to_string())
            .env("STORY_DEEDS", deeds.join(" "));
        if let Some(fault) = fault {
            command.env("DISK_FAULT", fault);
        }
        let output = command.output().expect("a process");
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().filter_map(|line| line.split("says ").nth(1)).next_back();
        let Some(last) = last else {
            panic!("it ended with {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        };
        last.to_owned()
    }

    /// Lets the processes of the story do all of its deeds, one process after another.
    pub fn whole_story(&self, deeds: &[Deed]) {
        let mut first = 0;
        while first < deeds.len() {
            let is_last = |deed: &Deed| matches!(deed, Deed::Close | Deed::Die);
            let length = deeds[first..].iter().position(is_last).expect("each process ends") + 1;
            assert_eq!(self.process(&deeds[first..first + length], first, None), "done");
            first += length;
        }
    }
}

/// One process of the story: opens the store in `STORY_DIR`, acts, and says how that ended.
#[test]
#[ignore = "started by the tests that watch it"]
fn a_process_of_the_story() {
    let Some(dir) = std::env::var_os("STORY_DIR") else { return };
    let first: usize = std::env::var("STORY_FIRST").expect("a place").parse().expect("a number");
    let deeds = std::env::var("STORY_DEEDS").expect("deeds");
    let deeds: Vec<Deed> = deeds.split(' ').map(Deed::parse).collect();
    let marks = std::fs::OpenOptions::new().append(true).create(true).open(Path::new(&dir).join(MARKS));
    let said = tell(Path::new(&dir), &deeds, first, &marks.expect("a file for marks"));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nsays {said}").and_then(|()| out.flush()).expect("somebody listens");
    if deeds.last() == Some(&Deed::Die) {
        drop(out);
        std::process::abort();
    }
}

fn tell(dir: &Path, deeds: &[Deed], first: usize, mut marks: &File) -> String {
    // A mark is one write, and so one entry of the trace.
    let mut mark = |what: &str, place: usize| {
        marks.write_all(format!("{what} {place}\n").as_bytes()).expect("a mark");
    };
    mark("begun", first);
    let store = match EmbeddedStore::open(dir) {
        Ok(store) => store,
        Err(error) => return format!("not opened: {error:?}"),
    };
    let opened = moved(dir);
    let mut epoch = Epoch(0);
    for (place, deed) in (first..).zip(deeds) {
        mark("begun", place);
        match deed {
            Deed::Settle => wait_until_moved(dir, opened),
            Deed::Close => {
                drop(store);
                mark("done", place);
                break;
            }
            Deed::Die => {
                // Not closed: the abort that follows finds it open.
                std::mem::forget(store);
                mark("done", place);
                break;
            }
            _ => {
                if let Err(failure) = insist(&store, &mut epoch, *deed) {
                    return format!("failed at {place}: {failure:?}");
                }
            }
        }
        mark("done", place);
    }
    "done".into()
}

/// Acts, and again as long as the store says that trying again may help. A store that is broken must stay so.
fn insist(store: &EmbeddedStore, epoch: &mut Epoch, deed: Deed) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let Err(failure) = story::act(store, epoch, deed) else { return Ok(()) };
        match &failure {
            Failure::Append(AppendError::Broken(_)) | Failure::Other(StoreError::Broken(_)) => {
                let later = store.append(&[]);
                assert!(matches!(later, Err(AppendError::Broken(_))), "{later:?} after {failure:?}");
                return Err(failure);
            }
            Failure::Append(AppendError::Refused(_)) | Failure::Other(StoreError::Unavailable(_)) => {
                tries += 1;
            }
            _ => return Err(failure),
        }
        if tries > 200 {
            return Err(failure);
        }
    }
}

/// When the write-ahead log was last moved into the database: nothing else is ever written there.
fn moved(dir: &Path) -> SystemTime {
    let database = std::fs::metadata(dir.join("riverrun.db")).expect("a database");
    database.modified().expect("files have times")
}

fn wait_until_moved(dir: &Path, before: SystemTime) {
    let begun = Instant::now();
    while moved(dir) == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "the write-ahead log was never moved");
        std::thread::sleep(Duration::from_millis(5));
    }
}
