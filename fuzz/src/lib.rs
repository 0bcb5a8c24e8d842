//! What several targets share: a kernel that plays a flow to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use riverrun_kernel::driver::{Action, Cells, Driver, RunContext, Tag, Then, Wake};
use riverrun_kernel::{
    DefinitionKind, DefinitionRef, Failure, Json, Now, RunId, RunOptions, Slot, Ticks, Wall,
};
use riverrun_plan::Flow;

/// A flow that goes round in circles is left alone after so many turns.
const TURNS: usize = 40;

/// Runs a flow on an input. Every step that it begins ends with the output or fails, as `answers` says.
pub fn play(flow: &Flow, input: &Json, mut answers: impl Iterator<Item = u8>) {
    let definition = DefinitionRef {
        namespace: "default".into(),
        kind: DefinitionKind::Flow,
        name: "fuzzed".into(),
        version: "0".into(),
    };
    let options = RunOptions::default();
    let mut cells = Cells::new();
    let mut open: BTreeMap<Tag, String> = BTreeMap::new();
    let mut paths = BTreeSet::new();
    let mut wakes = VecDeque::from([Wake::Started]);
    for _ in 0..TURNS {
        let Some(wake) = wakes.pop_front().or_else(|| end_one(&mut open, input, &mut answers)) else {
            return;
        };
        let context = RunContext {
            run: RunId::new(0, Slot(0), 7),
            continue_id: None,
            definition: &definition,
            input,
            options: &options,
            cells: &cells,
            now: Now { wall: Wall(0), ticks: Ticks(0) },
        };
        let turn = flow.advance(context, &wake, 200).expect("the interpreter understands its own state");
        for (cell, text) in turn.cells {
            match text {
                Some(text) => cells.insert(cell, text),
                None => cells.remove(&cell),
            };
        }
        for action in turn.actions {
            match action {
                Action::Begin { tag, path, .. } => {
                    assert!(paths.insert(path.clone()), "the path {path} was used before");
                    assert!(open.insert(tag, path).is_none(), "the tag {tag} is taken");
                }
                Action::Abort { tag } => {
                    open.remove(&tag);
                }
            }
        }
        match turn.then {
            Then::Continue => wakes.push_front(Wake::Continued),
            Then::Wait => assert!(!open.is_empty() || !wakes.is_empty(), "the run waits for nothing"),
            Then::End(_) => return,
        }
    }
}

fn end_one(
    open: &mut BTreeMap<Tag, String>,
    input: &Json,
    answers: &mut impl Iterator<Item = u8>,
) -> Option<Wake> {
    let answer = answers.next().unwrap_or(0);
    let tag = *open.keys().nth(usize::from(answer) % open.len().max(1))?;
    open.remove(&tag);
    let outcome = match answer % 3 {
        0 => Ok(input.clone()),
        1 => Ok(Json::null()),
        _ => Err(Failure::new("NoLuck", "out of luck")),
    };
    Some(Wake::StepEnded { tag, outcome })
}

/// Cuts an input into parts at zero bytes: the last takes the rest.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
