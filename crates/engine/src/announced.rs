//! What workers say of a task: who has it, and what it takes.

use std::sync::Arc;

use riverrun_kernel::{Wall, WorkerId};
use riverrun_plan::{Misfit, Parameters};

/// What a task takes, as a worker said it.
#[derive(Debug, PartialEq)]
pub(crate) struct Contract {
    /// The schema's text; empty where there is none.
    pub(crate) schema: Arc<str>,
    /// What was understood of it; `None` checks nothing.
    pub(crate) parameters: Option<Parameters>,
}

/// A task or a workflow that workers have announced.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// By the workers that are connected, the newest last.
    live: Vec<(WorkerId, Arc<Contract>)>,
    /// The last word, for when none is.
    last: Option<Arc<Contract>>,
    /// What the store has of it, and since when.
    kept: Option<(Arc<str>, Wall)>,
    /// It was forgotten since: nobody knows it before it is announced again.
    forgotten: bool,
}

impl Announced {
    /// A worker has it. Whether the store does not know it so.
    pub(crate) fn announce(&mut self, worker: WorkerId, schema: &str) -> bool {
        let contract = self.contract(schema);
        self.last = Some(contract.clone());
        self.live.push((worker, contract));
        self.forgotten || self.kept.as_ref().is_none_or(|(kept, _)| **kept != *schema)
    }

    /// The worker has gone.
    pub(crate) fn withdraw(&mut self, worker: WorkerId) {
        self.live.retain(|(known, _)| *known != worker);
    }

    /// The store has it.
    pub(crate) fn keep(&mut self, schema: &Arc<str>, since: Wall) {
        if self.kept.as_ref().is_some_and(|(_, newest)| *newest > since) {
            return;
        }
        self.kept = Some((schema.clone(), since));
        self.forgotten = false;
        if self.live.is_empty() {
            self.last = Some(self.contract(schema));
        }
    }

    /// The store has been told to forget it.
    pub(crate) fn forget(&mut self, schema: &Arc<str>, since: Wall) {
        if self.kept.as_ref().is_some_and(|(_, newest)| *newest > since) {
            return;
        }
        self.kept = Some((schema.clone(), since));
        self.forgotten = true;
        self.last = None;
    }

    /// Whether anybody can start it by its name.
    pub(crate) fn is_known(&self) -> bool {
        !self.forgotten || self.is_served()
    }

    /// Whether a connected worker has it.
    pub(crate) fn is_served(&self) -> bool {
        !self.live.is_empty()
    }

    /// Since when the store has it.
    pub(crate) fn since(&self) -> Option<Wall> {
        self.kept.as_ref().map(|(_, since)| *since)
    }

    /// The newest schema; empty where there is none.
    pub(crate) fn schema(&self) -> Arc<str> {
        self.last.as_ref().map_or_else(|| "".into(), |contract| contract.schema.clone())
    }

    /// Checks a call. While two versions of the code are connected, what either takes is let in.
    pub(crate) fn check(&self, input: &str) -> Result<(), (String, Vec<Misfit>)> {
        let mut refused = Ok(());
        let mut seen: Option<&Arc<Contract>> = None;
        let last = self.last.as_ref().filter(|_| self.live.is_empty());
        for contract in self.live.iter().rev().map(|(_, contract)| contract).chain(last) {
            if seen.is_some_and(|seen| Arc::ptr_eq(seen, contract)) {
                continue;
            }
            let Some(parameters) = &contract.parameters else { return Ok(()) };
            match parameters.check(input) {
                Ok(()) => return Ok(()),
                Err(misfits) if seen.is_none() => refused = Err((parameters.to_string(), misfits)),
                Err(_) => {}
            }
            seen = Some(contract);
        }
        refused
    }

    /// The contract of a schema: the same for all workers that say the same.
    fn contract(&self, schema: &str) -> Arc<Contract> {
        let known = self.live.iter().map(|(_, contract)| contract).chain(&self.last);
        match known.into_iter().find(|known| *known.schema == *schema) {
            Some(known) => known.clone(),
            None => Arc::new(Contract { schema: schema.into(), parameters: Parameters::read(schema) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str) -> String {
        format!(
            r#"{{"type": "object", "properties": {{"{name}": {{}}}}, "required": ["{name}"], "additionalProperties": false}}"#
        )
    }

    #[test]
    fn while_two_versions_are_connected_either_is_let_in_and_then_the_last_word_holds() {
        let mut task = Announced::default();
        assert!(task.announce(WorkerId(1), &schema("a")));
        assert!(task.announce(WorkerId(2), &schema("b")));
        assert_eq!(task.check(r#"{"a": 1}"#), Ok(()));
        assert_eq!(task.check(r#"{"b": 1}"#), Ok(()));
        let (signature, misfits) = task.check("{}").unwrap_err();
        assert_eq!((signature.as_str(), misfits[0].parameter.as_str()), ("(b)", "b"));
        task.withdraw(WorkerId(1));
        assert!(task.check(r#"{"a": 1}"#).is_err());
        task.withdraw(WorkerId(2));
        assert!(task.check(r#"{"a": 1}"#).is_err());
        assert_eq!(task.check(r#"{"b": 1}"#), Ok(()));
    }

    #[test]
    fn what_was_forgotten_is_known_again_when_it_is_announced() {
        let mut task = Announced::default();
        task.keep(&schema("a").into(), Wall(5));
        task.forget(&schema("a").into(), Wall(6));
        assert!(!task.is_known() && task.check("{}").is_ok());
        // Older rows come in any order when a store is opened.
        task.keep(&schema("b").into(), Wall(4));
        assert!(!task.is_known());
        assert!(task.announce(WorkerId(1), &schema("a")), "the store must learn of it again");
        assert!(task.is_known() && task.is_served());
        task.keep(&schema("a").into(), Wall(7));
        task.withdraw(WorkerId(1));
        assert!(task.is_known() && !task.is_served());
    }

    #[test]
    fn what_the_store_knows_is_not_written_again() {
        let mut task = Announced::default();
        task.keep(&schema("a").into(), Wall(5));
        assert!(task.check("{}").is_err());
        assert!(!task.announce(WorkerId(1), &schema("a")));
        assert!(task.announce(WorkerId(2), ""));
        // Older rows come in any order when a store is opened.
        task.keep(&"".into(), Wall(4));
        assert_eq!(task.since(), Some(Wall(5)));
        // A worker that says nothing of parameters takes them all.
        assert_eq!(task.check("{}"), Ok(()));
    }
}
