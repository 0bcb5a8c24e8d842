//! Interpreter state: one frame for each list that is being run, each in cells of its own.
//!
//! A frame has two cells: its control (where it is) at the frame's number, its local at the next. An iteration has
//! its item in a third. Inputs are not kept: they follow from the locals above, which stand still while a frame
//! below runs. A finished branch leaves its local behind until the step that owns it collects the results.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Object;

/// The cell of [`Header`].
pub(super) const HEADER: u32 = 0;
/// The cell of the limits that the run began under, unless they are the default.
pub(super) const LIMITS: u32 = u32::MAX;
/// The flow's own frame.
pub(super) const ROOT: u32 = 1;
/// Cells of a frame and of an iteration.
pub(super) const STRIDE: u32 = 2;
pub(super) const ITERATION_STRIDE: u32 = 3;

/// The local of a frame.
pub(super) fn local_of(cell: u32) -> u32 {
    cell + 1
}

/// The item of an iteration.
pub(super) fn item_of(cell: u32) -> u32 {
    cell + 2
}

/// What belongs to no frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The first cell that was never used.
    pub(super) next: u32,
    /// Frames that can go on at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ready: Vec<u32>,
    /// Events of the history so far, where they are limited.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub(super) events: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_yet(events: &u64) -> bool {
    *events == 0
}

/// Where a frame is. One letter a field: this text is recorded with every decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Control {
    #[serde(rename = "l")]
    pub(super) list: usize,
    /// The step it is at: to be entered, or open.
    #[serde(rename = "a")]
    pub(super) at: usize,
    /// The frame that it belongs to; 0 for the flow's own.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub(super) up: u32,
    /// Which branch or iteration it is.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub(super) number: u32,
    /// How often each step was begun, where that makes paths unique.
    #[serde(rename = "v", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) visits: BTreeMap<usize, u32>,
    /// How often a step of it was given up: what the kernel still reports of such a step is recognised by an older number.
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    pub(super) epoch: u32,
    #[serde(rename = "o", default, skip_serializing_if = "Open::is_enter")]
    pub(super) open: Open,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How far the step has got that a frame is at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum Open {
    /// Not entered.
    #[default]
    #[serde(rename = "e")]
    Enter,
    /// The kernel has it.
    #[serde(rename = "s")]
    Step(Try),
    /// A choice's branch runs in this frame.
    #[serde(rename = "c")]
    Choice(u32),
    /// Branches or iterations run.
    #[serde(rename = "f")]
    Fork(Fork),
}

impl Open {
    fn is_enter(&self) -> bool {
        *self == Open::Enter
    }
}

/// Tries at a step that the kernel does not count: those after a child failed or a result was no object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Try {
    /// Tries before this one, for ever: what makes the path unique.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub(super) before: u32,
    /// Retries used, by policy.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) used: Vec<u32>,
    /// It waits to be tried again.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) backing_off: bool,
}

/// Where a parallel or foreach stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Fork {
    /// The cell of its first frame; the others follow.
    #[serde(rename = "b")]
    pub(super) base: u32,
    #[serde(rename = "s")]
    pub(super) stride: u32,
    #[serde(rename = "t")]
    pub(super) total: u32,
    /// How many have begun.
    #[serde(rename = "g")]
    pub(super) begun: u32,
    #[serde(rename = "d")]
    pub(super) done: u32,
}

impl Fork {
    /// The cell of frame `number`.
    pub(super) fn cell(&self, number: u32) -> u32 {
        self.base + number * self.stride
    }
}

/// A frame in memory, for one turn.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) control: Control,
    pub(super) local: OnceCell<Object>,
    /// The whole input, once it was needed.
    pub(super) input: OnceCell<Object>,
    pub(super) local_changed: bool,
}

impl Frame {
    pub(super) fn new(control: Control) -> Self {
        Frame { control, local: OnceCell::new(), input: OnceCell::new(), local_changed: false }
    }
}
