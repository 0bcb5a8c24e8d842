//! What a disk may hold after the power failed: everything that was synced, and any part of what was not.
//!
//! A platter follows a trace. Writes since a file's last sync are pending: in an image each of their sectors is there or not,
//! in any combination, which is torn, lost and reordered writes in one. That is a little more than real disks do, since
//! the parts of a sector that were written one after another are independent here too. The same holds for lengths and names.

use std::collections::BTreeMap;
use std::path::Path;

use super::trace::Event;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Which of the pending changes are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All: the process died, the system did not.
    All,
    /// None.
    None,
    /// Those up to a moment.
    Earlier,
    /// Some of them, whole.
    Some,
    /// Some of their sectors.
    Sectors,
}

impl Kept {
    pub const ALL: [Kept; 5] = [Kept::None, Kept::Sectors, Kept::Some, Kept::Earlier, Kept::All];
}

/// Numbers that look random and follow from their seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[derive(Debug, Clone)]
enum Change {
    Bytes { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
struct Pending {
    /// Its place among all events.
    at: usize,
    change: Change,
    /// A sync of it failed: the system thinks that it is written, and writes it no more.
    forgotten: bool,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

/// A disk in the middle of a trace.
#[derive(Debug, Clone, Default)]
pub struct Platter {
    files: Vec<File>,
    /// The names as processes see them.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<(usize, String, Option<usize>)>,
    events: usize,
}

impl Platter {
    pub fn follow(&mut self, event: &Event) {
        self.events += 1;
        match event {
            Event::Created { name } => {
                self.files.push(File::default());
                self.name(name, Some(self.files.len() - 1));
            }
            Event::Written { name, offset, data } => {
                let change = Change::Bytes { offset: *offset as usize, data: data.clone() };
                self.change(name, change);
            }
            Event::Truncated { name, length } => self.change(name, Change::Length(*length as usize)),
            Event::Synced { name } if name.is_empty() => {
                for (_, name, file) in self.pending_names.drain(..) {
                    rename(&mut self.durable_names, name, file);
                }
            }
            Event::Synced { name } => self.file(name).sync(),
            Event::SyncFailed { name } => {
                if !name.is_empty() {
                    self.file(name).pending.iter_mut().for_each(|one| one.forgotten = true);
                }
            }
            Event::Removed { name } => self.name(name, None),
            Event::Renamed { name, to } => {
                let file = self.names[name];
                self.name(name, None);
                self.name(to, Some(file));
            }
        }
    }

    /// Writes into `dir` what the disk may hold if the power fails now.
    pub fn image(&self, dir: &Path, kept: Kept, dice: &mut Dice) {
        let moment = dice.below(self.events as u64 + 1) as usize;
        let mut keeps = |at: usize| match kept {
            Kept::All => true,
            Kept::None => false,
            Kept::Earlier => at < moment,
            Kept::Some | Kept::Sectors => dice.below(2) == 0,
        };
        let mut names = self.durable_names.clone();
        for (at, name, file) in &self.pending_names {
            if keeps(*at) {
                rename(&mut names, name.clone(), *file);
            }
        }
        for (name, file) in names {
            let bytes = self.files[file].image(kept == Kept::Sectors, &mut keeps);
            std::fs::write(dir.join(name), bytes).expect("a file of the image");
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        let place = self.names.get(name).copied().unwrap_or_else(|| panic!("{name} was never created"));
        &mut self.files[place]
    }

    fn name(&mut self, name: &str, file: Option<usize>) {
        self.pending_names.push((self.events, name.to_owned(), file));
        rename(&mut self.names, name.to_owned(), file);
    }

    fn change(&mut self, name: &str, change: Change) {
        let at = self.events;
        // Only an open file that was removed is written to without a name, and nothing is left of that.
        if !self.names.contains_key(name) {
            return;
        }
        self.file(name).pending.push(Pending { at, change, forgotten: false });
    }
}

fn rename(names: &mut BTreeMap<String, usize>, name: String, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(&name),
    };
}

impl File {
    /// Everything pending becomes durable, but for what the system has forgotten to write and nobody has written again.
    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for (place, one) in pending.iter().enumerate() {
            let again = pending[place + 1..].iter().any(|later| !later.forgotten && later.touches(one));
            if one.forgotten && !again {
                self.pending.push(one.clone());
            } else {
                one.apply(&mut self.durable, &mut |_| true);
                self.durable.resize(one.length_after(self.durable.len()), 0);
            }
        }
    }

    fn image(&self, torn: bool, keeps: &mut impl FnMut(usize) -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut length = bytes.len();
        for one in &self.pending {
            if torn {
                one.apply(&mut bytes, &mut |_| keeps(one.at));
            } else if keeps(one.at) {
                one.apply(&mut bytes, &mut |_| true);
            } else {
                continue;
            }
            if !torn || keeps(one.at) {
                length = one.length_after(length);
            }
        }
        bytes.resize(length, 0);
        bytes
    }
}

impl Pending {
    fn touches(&self, other: &Pending) -> bool {
        match (&self.change, &other.change) {
            (Change::Bytes { offset: a, data: of_a }, Change::Bytes { offset: b, data: of_b }) => {
                *a < b + of_b.len() && *b < a + of_a.len()
            }
            (Change::Length(_), Change::Length(_)) => true,
            _ => false,
        }
    }

    fn length_after(&self, before: usize) -> usize {
        match &self.change {
            Change::Bytes { offset, data } => before.max(offset + data.len()),
            Change::Length(length) => *length,
        }
    }

    /// Applies the sectors that are kept. The caller sees to the length.
    fn apply(&self, bytes: &mut Vec<u8>, keeps: &mut impl FnMut(usize) -> bool) {
        match &self.change {
            Change::Bytes { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let mut from = *offset;
                while from < end {
                    let to = end.min((from / SECTOR + 1) * SECTOR);
                    if keeps(from / SECTOR) {
                        bytes[from..to].copy_from_slice(&data[from - offset..to - offset]);
                    }
                    from = to;
                }
            }
            Change::Length(length) => {
                if let Some(gone) = bytes.get_mut(*length..) {
                    gone.fill(0);
                }
            }
        }
    }
}
