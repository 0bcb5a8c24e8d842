//! What a measurement is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Riverrun: YAML flows, or queued tasks, with Python functions.
    Riverrun,
    /// Riverrun: durable workflows, or queued tasks, with a worker in Rust.
    Rust,
    /// Restate's server with its Python SDK.
    Restate,
    /// DBOS on SQLite.
    Dbos,
    /// RQ on Redis.
    Rq,
    /// Celery on Redis.
    Celery,
}

/// The options of every workload.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// What to measure; everything that is installed unless given
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub only: Vec<Subject>,
    /// How often each is measured; the median is shown
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
    /// How many runs or tasks; each workload has its own number unless given
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// How many Python functions Riverrun's worker executes at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub children: usize,
    /// The riverrun binary [default: the one beside this program]
    #[arg(long, value_name = "FILE", default_value_os_t = beside())]
    pub riverrun: PathBuf,
    /// Where the systems keep their data: on the disk that is to be measured
    #[arg(long, value_name = "DIR", default_value_os_t = here(".work"))]
    pub work: PathBuf,
    /// The file that results are appended to
    #[arg(long, value_name = "FILE", default_value_os_t = here("RESULTS.md"))]
    pub results: PathBuf,
    /// A remark for the results
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

impl Settings {
    /// Whether something is to be measured.
    pub fn wants(&self, subject: Subject) -> bool {
        let asked = self.only.is_empty() || self.only.contains(&subject);
        asked
            && match subject {
                Subject::Riverrun | Subject::Rust => true,
                Subject::Restate => self.peer("restate-sdk/bin/hypercorn").exists(),
                Subject::Dbos => self.peer("dbos/bin/python").exists(),
                Subject::Rq | Subject::Celery => self.peer("queues/bin/python").exists(),
            }
    }

    /// A file of an installed peer.
    #[expect(clippy::unused_self, reason = "where peers are may become a setting")]
    pub fn peer(&self, path: &str) -> PathBuf {
        here(".peers").join(path)
    }

    /// An empty directory.
    pub fn fresh(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.work.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where a system's messages go.
    pub fn log(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.log"))
    }

    /// Where steps note that they were executed.
    pub fn marks(&self) -> PathBuf {
        self.work.join("marks")
    }
}

/// A file of this package.
pub fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn beside() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("riverrun")
}
