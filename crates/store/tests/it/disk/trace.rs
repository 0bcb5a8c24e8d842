//! What a process did to the files below its directory, in order, as `disk.c` wrote it down.

use std::path::Path;

/// One change, or one sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Created {
        name: String,
    },
    Written {
        name: String,
        offset: u64,
        data: Vec<u8>,
    },
    Truncated {
        name: String,
        length: u64,
    },
    /// The file's content is on the disk; for the directory, named "", its names are.
    Synced {
        name: String,
    },
    /// The system said that it could not write, and counts what was to be written as written.
    SyncFailed {
        name: String,
    },
    Removed {
        name: String,
    },
    Renamed {
        name: String,
        to: String,
    },
}

/// Reads a trace. A last entry that is incomplete belongs to a process that was killed while it wrote it.
pub fn read(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).expect("a trace");
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while let Some(event) = next(&mut rest) {
        events.push(event);
    }
    events
}

fn next(rest: &mut &[u8]) -> Option<Event> {
    let (head, body) = rest.split_first_chunk::<24>()?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let name_length = u32::from_le_bytes(head[4..8].try_into().expect("four bytes")) as usize;
    let (offset, length) = (number(8), number(16) as usize);
    let (name, body) = body.split_at_checked(name_length)?;
    let (data, after) = body.split_at_checked(length)?;
    *rest = after;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("names are text");
    let name = text(name);
    Some(match head[0] {
        b'c' => Event::Created { name },
        b'w' => Event::Written { name, offset, data: data.to_vec() },
        b't' => Event::Truncated { name, length: offset },
        b's' => Event::Synced { name },
        b'f' => Event::SyncFailed { name },
        b'u' => Event::Removed { name },
        b'r' => Event::Renamed { name, to: text(data) },
        other => panic!("no entry of a trace begins with {other}"),
    })
}
