//! Ids of sixteen hex digits, for clients of other systems whose ids are that long.

use std::fmt;
use std::str::FromStr;

use riverrun_kernel::{RunId, Slot};

/// A run's id in sixteen upper-case hex digits. The first four are its slot; the rest cannot be guessed. Such a run's own id says nothing of
/// when it was made, and so the two give each other back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId(u64);

impl ShortId {
    /// One that nothing has; zero if the system gives no random numbers.
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => ShortId(u64::from_be_bytes(bytes)),
            Err(_) => ShortId(0),
        }
    }

    /// A short id in the slot of a run, of that run's entropy.
    pub fn of(run: RunId) -> Self {
        let bytes = run.to_bytes();
        let entropy = bytes[10..].iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
        ShortId((u64::from(run.slot().0) << 48) | entropy)
    }

    /// The run of that id.
    pub fn run(self) -> RunId {
        RunId::new(0, Slot((self.0 >> 48) as u16), self.0)
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl FromStr for ShortId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A sign would be read as part of the number, and so it is made something that is not one.
        let digits = if text.len() == 16 && !text.starts_with('+') { text } else { "" };
        u64::from_str_radix(digits, 16).map(ShortId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_its_run_give_each_other_back() {
        let run = RunId::new(1_700_000_000_000, Slot(0xAC3C), 0xFFFF_301A_7CA5_16EA);
        let short = ShortId::of(run);
        assert_eq!(short.to_string(), "AC3C301A7CA516EA");
        assert_eq!(short.run().slot(), run.slot());
        assert_eq!(ShortId::of(short.run()), short);
        assert_eq!("AC3C301A7CA516EA".parse(), Ok(short));
        assert_eq!("ac3c301a7ca516ea".parse(), Ok(short));
    }

    #[test]
    fn anything_else_is_no_id() {
        for text in [
            "",
            "AC3C301A7CA516E",
            "AC3C301A7CA516EA0",
            "+C3C301A7CA516EA",
            "xxxxxxxxxxxxxxxx",
            "百川百川百1",
        ] {
            assert!(text.parse::<ShortId>().is_err(), "{text}");
        }
    }
}
