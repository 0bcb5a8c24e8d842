//! What the figures were taken on: the processor, the memory, the disk, and how busy the machine was with other things.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::numbers::{median, percentile};

/// Appends measured at a time.
const SYNCS: usize = 500;

/// The machine, in one line.
pub fn describe() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.div_ceil(1 << 20));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("{cores} × {cpu}, {memory} GiB, Linux {kernel}")
}

/// How many processes wanted a processor in the last minute, on average.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// How fast the disk makes 256 bytes durable, one after another: appended, and written into a file that has its size already.
pub struct Disk {
    append: Vec<Duration>,
    overwrite: Vec<Duration>,
}

impl Disk {
    /// Measures it in a directory.
    pub fn measure(directory: &Path) -> io::Result<Disk> {
        let path = directory.join("fdatasync");
        let append = syncs(&File::create(&path)?)?;
        let file = File::create(&path)?;
        (&file).write_all(&vec![0; SYNCS * 256])?;
        file.sync_all()?;
        drop(file);
        let overwrite = syncs(&File::options().write(true).open(&path)?)?;
        fs::remove_file(&path)?;
        Ok(Disk { append, overwrite })
    }

    /// The figures, in one line.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (name, times) in [("append", &self.append), ("overwrite", &self.overwrite)] {
            let micros = |time: f64| time * 1e6;
            let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
            let middle = median(&seconds);
            let _ = write!(
                text,
                "{name} 256 B + fdatasync: {:.0} µs (p99 {:.0} µs), {:.0}/s; ",
                micros(middle),
                micros(percentile(&seconds, 99.0)),
                1.0 / middle
            );
        }
        text.trim_end_matches("; ").to_owned()
    }
}

fn syncs(mut file: &File) -> io::Result<Vec<Duration>> {
    let bytes = [7; 256];
    (0..SYNCS)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&bytes)?;
            file.sync_data()?;
            Ok(start.elapsed())
        })
        .collect()
}
