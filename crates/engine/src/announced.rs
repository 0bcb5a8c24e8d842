//! What workers say of a task: who has it, what it takes, and how it is run.

use std::sync::Arc;

use riverrun_kernel::{RunOptions, Wall, WorkerId};
use riverrun_plan::{Misfit, Parameters};

/// What a worker says of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    /// The schema of what it takes; empty where there is none.
    pub(crate) schema: Arc<str>,
    /// How it is run, where a start does not say.
    pub(crate) options: Option<Arc<RunOptions>>,
}

/// The same, understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Contract {
    said: Said,
    /// What was understood of it; `None` checks nothing.
    parameters: Option<Parameters>,
}

/// A task or a workflow that workers have announced.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// By the workers that are connected, the newest last.
    live: Vec<(WorkerId, Arc<Contract>)>,
    /// The last word, for when none is.
    last: Option<Arc<Contract>>,
    /// What the store has of it, and since when.
    kept: Option<(Said, Wall)>,
    /// It was forgotten since: nobody knows it before it is announced again.
    forgotten: bool,
}

impl Announced {
    /// A worker has it. Whether the store does not know it so.
    pub(crate) fn announce(&mut self, worker: WorkerId, said: &Said) -> bool {
        let contract = self.contract(said);
        self.last = Some(contract.clone());
        self.live.push((worker, contract));
        self.forgotten || self.kept.as_ref().is_none_or(|(kept, _)| kept != said)
    }

    /// The worker has gone.
    pub(crate) fn withdraw(&mut self, worker: WorkerId) {
        self.live.retain(|(known, _)| *known != worker);
    }

    /// The store has it.
    pub(crate) fn keep(&mut self, said: Said, since: Wall) {
        if self.kept.as_ref().is_some_and(|(_, newest)| *newest > since) {
            return;
        }
        if self.live.is_empty() {
            self.last = Some(self.contract(&said));
        }
        self.kept = Some((said, since));
        self.forgotten = false;
    }

    /// The store has been told to forget it.
    pub(crate) fn forget(&mut self, said: Said, since: Wall) {
        if self.kept.as_ref().is_some_and(|(_, newest)| *newest > since) {
            return;
        }
        self.kept = Some((said, since));
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

    /// The last word of it.
    pub(crate) fn said(&self) -> Said {
        self.last.as_ref().map(|contract| contract.said.clone()).unwrap_or_default()
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

    /// What was said, understood: the same for all workers that say the same.
    fn contract(&self, said: &Said) -> Arc<Contract> {
        let known = self.live.iter().map(|(_, contract)| contract).chain(&self.last);
        match known.into_iter().find(|known| known.said == *said) {
            Some(known) => known.clone(),
            None => Arc::new(Contract { said: said.clone(), parameters: Parameters::read(&said.schema) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str) -> Said {
        let schema = format!(
            r#"{{"type": "object", "properties": {{"{name}": {{}}}}, "required": ["{name}"], "additionalProperties": false}}"#
        );
        Said { schema: schema.into(), options: None }
    }

    fn limited(timeout_ms: u64) -> Said {
        let options = RunOptions { queue_ttl_ms: Some(timeout_ms), ..RunOptions::default() };
        Said { options: Some(Arc::new(options)), ..schema("a") }
    }

    #[test]
    fn options_are_the_last_word_and_kept_with_the_schema() {
        let mut task = Announced::default();
        assert!(task.announce(WorkerId(1), &schema("a")));
        task.keep(schema("a"), Wall(1));
        assert!(task.announce(WorkerId(2), &limited(5)), "the store does not know these options");
        assert_eq!(task.said(), limited(5));
        task.keep(limited(5), Wall(2));
        assert!(!task.announce(WorkerId(3), &limited(5)));
        (1..=3).for_each(|worker| task.withdraw(WorkerId(worker)));
        assert_eq!(task.said(), limited(5));
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
        task.keep(schema("a"), Wall(5));
        task.forget(schema("a"), Wall(6));
        assert!(!task.is_known() && task.check("{}").is_ok());
        // Older rows come in any order when a store is opened.
        task.keep(schema("b"), Wall(4));
        assert!(!task.is_known());
        assert!(task.announce(WorkerId(1), &schema("a")), "the store must learn of it again");
        assert!(task.is_known() && task.is_served());
        task.keep(schema("a"), Wall(7));
        task.withdraw(WorkerId(1));
        assert!(task.is_known() && !task.is_served());
    }

    #[test]
    fn what_the_store_knows_is_not_written_again() {
        let mut task = Announced::default();
        task.keep(schema("a"), Wall(5));
        assert!(task.check("{}").is_err());
        assert!(!task.announce(WorkerId(1), &schema("a")));
        assert!(task.announce(WorkerId(2), &Said::default()));
        // Older rows come in any order when a store is opened.
        task.keep(Said::default(), Wall(4));
        assert_eq!(task.since(), Some(Wall(5)));
        // A worker that says nothing of parameters takes them all.
        assert_eq!(task.check("{}"), Ok(()));
    }
}
