//! Deleting definitions, and what is left of deleted flows: runs that stop and go, and keys.
//!
//! A flow's deletion is one durable fact; everything else follows from it and can be done again after a crash. Nothing here compares
//! times: while a name is deleted nothing is started under it, so that every run of it belongs to what was deleted.

use riverrun_kernel::schedule::Schedule;
use riverrun_kernel::{DefinitionKind, DefinitionRef, Refusal, RunSummary, State};
use riverrun_store::{KeyFilter, RunFilter};

use crate::engine::Engine;
use crate::error::EngineError;

/// Runs or keys looked at at a time.
const PAGE: usize = 200;

impl Engine {
    /// Deletes a flow, with its runs and keys, or forgets a task or a workflow that workers have announced. It is refused while open runs or
    /// schedules use it, unless `force`; and while a connected worker has it, which would announce it again.
    pub async fn delete_unused(
        &self,
        namespace: &str,
        name: &str,
        kind: Option<DefinitionKind>,
        force: bool,
    ) -> Result<DefinitionRef, EngineError> {
        let definitions = &self.node.hub.definitions;
        let Some((found, is_served)) = definitions.deletable(namespace, name, kind) else {
            // Says which names are near.
            let kind = kind.filter(|kind| *kind == DefinitionKind::Flow);
            definitions.resolve(namespace, name, kind, None)?;
            return Err(EngineError::UnknownDefinition(format!("there is no such definition `{name}`")));
        };
        let definition = found.reference.clone();
        if is_served {
            return Err(EngineError::DefinitionInUse(format!(
                "a connected worker has the {} `{name}`, and would announce it again: stop that worker first",
                definition.kind
            )));
        }
        if !force && let Some(user) = self.user_of(&definition).await? {
            return Err(EngineError::DefinitionInUse(format!(
                "the {} `{name}` is used by {user}: let that end, or delete it with force",
                definition.kind
            )));
        }
        match definition.kind {
            DefinitionKind::Flow => {
                self.delete_definition(namespace, name).await?;
            }
            DefinitionKind::Task => {
                let deployed = crate::engine::after(Some(&found));
                self.put(&crate::library::forgotten(found, deployed)).await?;
            }
            _ => definitions.forget(&definition),
        }
        Ok(definition)
    }

    /// An open run of a definition, or a schedule that starts it.
    async fn user_of(&self, definition: &DefinitionRef) -> Result<Option<String>, EngineError> {
        let namespace = definition.namespace.to_string();
        let filter = RunFilter {
            namespace: namespace.clone(),
            definition: Some(definition.name.to_string()),
            kind: Some(definition.kind),
            states: State::ALL.into_iter().filter(|state| !state.is_closed()).collect(),
            ..RunFilter::default()
        };
        if let Some(run) = self.list(filter, None, 1).await?.items.first() {
            return Ok(Some(format!("{}, which is {}", run.id, run.state)));
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.schedules(&namespace, "", after.as_deref(), PAGE).await?;
            let uses = |schedule: &&Schedule| {
                let target = &schedule.spec.target.definition;
                target.name == definition.name && target.kind == definition.kind
            };
            if let Some(schedule) = page.iter().find(uses) {
                return Ok(Some(format!("the schedule `{}`", schedule.id.name)));
            }
            after = page.last().map(|schedule| schedule.id.name.to_string());
            if page.len() < PAGE {
                return Ok(None);
            }
        }
    }

    /// Does the next part of what deletions left to do, and says whether anything is left. Runs that are executing something are told
    /// to stop; they go when they have.
    pub async fn clear_deleted(&self) -> Result<bool, EngineError> {
        let mut left = false;
        for definition in self.node.hub.definitions.deleted() {
            left |= self.clear(&definition).await?;
        }
        Ok(left)
    }

    /// The same for one name; nothing is left of one that is not deleted.
    pub async fn clear_definition(&self, namespace: &str, name: &str) -> Result<bool, EngineError> {
        let last = self.node.hub.definitions.last(namespace, name);
        match last.filter(|last| last.deleted) {
            Some(last) => self.clear(&last.reference).await,
            None => Ok(false),
        }
    }

    async fn clear(&self, definition: &DefinitionRef) -> Result<bool, EngineError> {
        let (namespace, name) = (definition.namespace.to_string(), definition.name.to_string());
        let filter = RunFilter {
            namespace: namespace.clone(),
            definition: Some(name.clone()),
            kind: Some(DefinitionKind::Flow),
            ..RunFilter::default()
        };
        self.clear_keys(definition, KeyFilter { namespace, definition: Some(name) }).await?;
        let (mut left, mut after) = (false, None);
        loop {
            let page = self.list(filter.clone(), after, PAGE).await?;
            // Looked at after the list was made: what it holds was started before.
            if !self.is_deleted(definition) {
                return Ok(false);
            }
            for run in &page.items {
                left |= !self.remove(run).await;
            }
            after = page.next;
            if after.is_none() {
                return Ok(left);
            }
        }
    }

    async fn clear_keys(&self, definition: &DefinitionRef, filter: KeyFilter) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let page = self.keys(filter.clone(), after, PAGE).await?;
            if !self.is_deleted(definition) {
                return Ok(());
            }
            after = page.last().map(|key| key.id.clone());
            let full = page.len() == PAGE;
            for key in page {
                // A task of the same name has keys of its own.
                let run = self.run(key.run).await.ok();
                if run.is_none_or(|run| run.summary.definition.kind == DefinitionKind::Flow) {
                    // One that is gone meanwhile needs nothing any more.
                    let _ = self.delete_key(key.id, true).await;
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn is_deleted(&self, definition: &DefinitionRef) -> bool {
        let last = self.node.hub.definitions.last(&definition.namespace, &definition.name);
        last.is_some_and(|last| last.deleted)
    }

    /// Whether the run is gone: this may be done at two places at once.
    async fn remove(&self, run: &RunSummary) -> bool {
        if !run.state.is_closed() {
            // What cannot be done now is tried again: the run is still in the list then.
            let _ = self.cancel(run.id, "its flow was deleted".to_owned()).await;
        }
        matches!(self.delete(run.id).await, Ok(()) | Err(EngineError::Refused(Refusal::UnknownRun(_))))
    }
}
