//! What is kept of a run that is open and not in memory: as little as will do, for there may be millions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::is_near;
use super::lines::{Lines, Place, QueueKey};
use crate::ids::{RunId, StepId};
use crate::rows::{QueuePlace, Stub};
use crate::time::{Due, Now, Ticks, Wall};

/// A stub in memory.
#[derive(Debug)]
pub(super) enum Rest {
    /// A call stands in a line, and that is all.
    Queued { line: Arc<QueueKey>, order: u64, step: StepId, priority: u8 },
    /// Time will wake it, if anything.
    Waits { ticks: Option<Ticks>, wall: Option<Wall> },
    /// Anything else.
    Other(Box<Stub>),
}

impl Rest {
    /// Of a stub that stands in its lines already.
    pub(super) fn new(stub: Stub, lines: &Lines) -> Self {
        match (stub.queued.as_slice(), stub.wake_ticks, stub.wake_wall) {
            _ if stub.active => {}
            ([place], None, None) if place.limit.is_none() => {
                if let Some(line) = lines.name(&line_of(place)) {
                    let QueuePlace { order, step, priority, .. } = *place;
                    return Rest::Queued { line, order, step, priority };
                }
            }
            ([], None | Some(Due::Ticks(_)), None | Some(Due::Wall(_))) => {
                let ticks =
                    stub.wake_ticks.and_then(|due| if let Due::Ticks(at) = due { Some(at) } else { None });
                let wall =
                    stub.wake_wall.and_then(|due| if let Due::Wall(at) = due { Some(at) } else { None });
                return Rest::Waits { ticks, wall };
            }
            _ => {}
        }
        Rest::Other(Box::new(stub))
    }

    /// The stub that it was made of.
    pub(super) fn stub(&self, run: RunId) -> Stub {
        let nothing = Stub { run, wake_ticks: None, wake_wall: None, queued: Vec::new(), active: false };
        match self {
            Rest::Queued { line, order, step, priority } => {
                let (namespace, queue, function) = (**line).clone();
                let (step, priority, order) = (*step, *priority, *order);
                let place = QueuePlace { step, namespace, queue, function, priority, order, limit: None };
                Stub { queued: vec![place], ..nothing }
            }
            Rest::Waits { ticks, wall } => {
                Stub { wake_ticks: ticks.map(Due::Ticks), wake_wall: wall.map(Due::Wall), ..nothing }
            }
            Rest::Other(stub) => (**stub).clone(),
        }
    }

    /// Whether recovery loads it at once.
    pub(super) fn is_active(&self) -> bool {
        matches!(self, Rest::Other(stub) if stub.active)
    }
}

/// Where lines become far, each looked up once.
#[derive(Debug, Default)]
pub(super) struct Edges(BTreeMap<QueueKey, Option<Place>>);

impl Edges {
    /// Whether all that a run waits for is a turn that is far away.
    pub(super) fn is_far(&mut self, stub: &Stub, lines: &Lines, now: Now) -> bool {
        let [place] = stub.queued.as_slice() else { return false };
        if stub.active || place.limit.is_some() || is_near(stub, now) {
            return false;
        }
        let at = (Reverse(place.priority), place.order, stub.run, place.step);
        let edge = self.0.entry(line_of(place)).or_insert_with_key(|line| lines.edge(line));
        edge.is_some_and(|edge| at > edge)
    }
}

fn line_of(place: &QueuePlace) -> QueueKey {
    (place.namespace.clone(), place.queue.clone(), place.function.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Slot;
    use crate::limits::CallLimit;

    fn place(limit: Option<CallLimit>) -> QueuePlace {
        QueuePlace {
            step: StepId(1),
            namespace: "default".into(),
            queue: "mail".into(),
            function: "send".into(),
            priority: 7,
            order: 11,
            limit: limit.map(Arc::new),
        }
    }

    #[test]
    fn a_rest_is_small_and_gives_its_stub_back() {
        assert!(size_of::<Rest>() <= 32, "{} bytes", size_of::<Rest>());
        let run = RunId::new(1, Slot(0), 1);
        let limit = CallLimit { key: "k".into(), max_running: Some(1), rate: None };
        let ticks = Some(Due::Ticks(Ticks(5)));
        for (queued, wake_ticks, active) in [
            (vec![place(None)], None, false),
            (vec![place(Some(limit))], None, false),
            (vec![place(None)], ticks, false),
            (vec![], ticks, false),
            (vec![], None, true),
        ] {
            let stub = Stub { run, wake_ticks, wake_wall: None, queued, active };
            let mut lines = Lines::new(0, 1);
            for place in &stub.queued {
                lines.put(place, run, true);
            }
            let rest = Rest::new(stub.clone(), &lines);
            assert_eq!(rest.is_active(), active);
            assert_eq!(rest.stub(run), stub);
        }
    }
}
