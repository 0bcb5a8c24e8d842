//! The two clocks. Nobody in this crate reads a clock: time comes in as an argument.

use serde::{Deserialize, Serialize};

/// Wall time, in milliseconds since 1970 UTC. Serves what a person wrote as a date: stamps, TTLs, `run_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// This moment and `ms` milliseconds more.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Wall(self.0.saturating_add_unsigned(ms))
    }
}

/// Partition time, in milliseconds since the partition was made. Serves everything relative: sleeps,
/// back-off, time-outs, leases. It never goes back and does not jump with the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticks(pub u64);

impl Ticks {
    /// This moment and `ms` milliseconds more.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Ticks(self.0.saturating_add(ms))
    }
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// Wall time.
    pub wall: Wall,
    /// Partition time.
    pub ticks: Ticks,
}

/// When something is due, on the clock that its meaning asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Due {
    /// A moment of partition time.
    Ticks(Ticks),
    /// A date.
    Wall(Wall),
}

impl Due {
    /// Whether the moment has come.
    pub fn reached(self, now: Now) -> bool {
        match self {
            Due::Ticks(ticks) => ticks <= now.ticks,
            Due::Wall(wall) => wall <= now.wall,
        }
    }

    /// The moment so many milliseconds before.
    #[must_use]
    pub fn earlier(self, ms: u64) -> Self {
        match self {
            Due::Ticks(ticks) => Due::Ticks(Ticks(ticks.0.saturating_sub(ms))),
            Due::Wall(wall) => Due::Wall(Wall(wall.0.saturating_sub_unsigned(ms))),
        }
    }

    /// The wall time to show to a person: exact for a date, an estimate for partition time.
    pub fn shown(self, now: Now) -> Wall {
        match self {
            Due::Wall(wall) => wall,
            Due::Ticks(ticks) if ticks >= now.ticks => now.wall.plus(ticks.0 - now.ticks.0),
            Due::Ticks(ticks) => Wall(now.wall.0.saturating_sub_unsigned(now.ticks.0 - ticks.0)),
        }
    }
}
