//! Exit codes: how a command ended, for scripts. `docs/cli.md` documents them.

use std::process::ExitCode;

use riverrun_kernel::State;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; the run succeeded.
    Ok,
    /// The run failed, or the command could not be done.
    Failed,
    /// The command line or its input is wrong.
    Usage,
    /// The run passed its time limit.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
    /// The run is suspended and needs a person.
    Repair,
    /// The run was not started within its time to live.
    Expired,
    /// The server gave no answer, or asked to try again later.
    Unavailable,
    /// `--wait` ended before the run did.
    StillOpen,
    /// The storage failed: the next start repairs it.
    Broken,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::TimedOut => 3,
            Exit::Cancelled => 4,
            Exit::Repair => 5,
            Exit::Expired => 6,
            Exit::Unavailable => 7,
            Exit::StillOpen => 8,
            Exit::Broken => 74,
            Exit::Interrupted => 130,
        }
    }

    /// How a run in this state ends the command that followed it.
    pub fn of(state: State) -> Exit {
        match state {
            State::Succeeded => Exit::Ok,
            State::Failed => Exit::Failed,
            State::TimedOut => Exit::TimedOut,
            State::Cancelled => Exit::Cancelled,
            State::Expired => Exit::Expired,
            State::Queued | State::Running | State::Suspended | State::Cancelling => Exit::StillOpen,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.number())
    }
}
