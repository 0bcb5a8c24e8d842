//! The definitions of this node, all in memory, and their drivers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use riverrun_kernel::task::TaskDriver;
use riverrun_kernel::workflow::{WorkflowDriver, workflow_of};
use riverrun_kernel::{
    Definition, DefinitionKind, DefinitionRef, Driver, Drivers, Json, Resolved, RunOptions, Wall, WorkerId,
};
use riverrun_kernel::{callback, compose};
use riverrun_plan::{Flow, Limits, nearest};
use sha2::{Digest, Sha256};

use crate::announced::{Announced, Said};
use crate::error::EngineError;
use crate::sequencer::Library;

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// What a worker says of a function besides its name.
#[derive(Debug, Clone, Default)]
pub struct TaskContract {
    /// A JSON Schema of its parameters; calls are checked against it.
    pub parameters: Option<Json>,
    /// How its runs are run, where their start does not say.
    pub options: Option<Arc<RunOptions>>,
}

/// Every definition that was deployed to this deployment, every task that was ever announced to it, and the workflows that workers
/// announced to this process.
#[derive(Default)]
pub struct Definitions {
    known: RwLock<Known>,
    /// What runs of flows begin under.
    flow_limits: Limits,
    task: Option<Arc<dyn Driver>>,
    workflow: Option<Arc<dyn Driver>>,
}

#[derive(Default)]
struct Known {
    /// Versions of each flow, the newest last.
    flows: BTreeMap<Name, Vec<Version>>,
    drivers: HashMap<DefinitionRef, Arc<dyn Driver>>,
    /// Tasks and workflows: code that workers have.
    code: BTreeMap<(Name, DefinitionKind), Announced>,
}

impl Known {
    /// Tasks and workflows that have not been forgotten.
    fn code_names(&self) -> impl Iterator<Item = &(Name, DefinitionKind)> {
        self.code.iter().filter(|(_, announced)| announced.is_known()).map(|(name, _)| name)
    }
}

#[derive(Clone)]
struct Version {
    definition: Definition,
    timeout_ms: Option<u64>,
}

impl std::fmt::Debug for Definitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definitions").finish_non_exhaustive()
    }
}

impl Drivers for Definitions {
    fn driver(&self, definition: &DefinitionRef) -> Option<Arc<dyn Driver>> {
        match definition.kind {
            DefinitionKind::Task => self.task.clone(),
            DefinitionKind::Workflow => self.workflow.clone(),
            DefinitionKind::Builtin => compose::driver(&definition.name),
            DefinitionKind::Flow => self.read().drivers.get(definition).cloned(),
        }
    }

    fn resolve(&self, wanted: &DefinitionRef) -> Option<Resolved> {
        if wanted.kind != DefinitionKind::Flow {
            let defaults = self.defaults(wanted);
            return Some(Resolved { definition: wanted.clone(), timeout_ms: None, defaults });
        }
        let known = self.read();
        let versions = known.flows.get(&(wanted.namespace.clone(), wanted.name.clone()))?;
        if is_deleted(versions) {
            return None;
        }
        let exact = |found: &&Version| found.definition.reference.version == wanted.version;
        let found = if wanted.version.is_empty() { versions.last() } else { versions.iter().find(exact) }?;
        let definition = found.definition.reference.clone();
        Some(Resolved { definition, timeout_ms: found.timeout_ms, defaults: None })
    }
}

impl Library for Definitions {
    /// A source that does not parse is kept without a driver: its runs are suspended for repair, everything else goes on.
    fn learn(&self, definition: &Definition) {
        if definition.reference.kind != DefinitionKind::Flow {
            let name = (definition.reference.namespace.clone(), definition.reference.name.clone());
            let mut known = self.write();
            let announced = known.code.entry((name, definition.reference.kind)).or_default();
            let said = Said { schema: definition.source.clone(), options: definition.options.clone() };
            if definition.deleted {
                announced.forget(said, definition.deployed);
            } else {
                announced.keep(said, definition.deployed);
            }
            return;
        }
        let known = self.read().drivers.contains_key(&definition.reference);
        let parsed = if known { None } else { Some(Flow::parse(&definition.source)) };
        let (flow, timeout_ms) = match parsed {
            Some(Ok((flow, _))) => {
                let flow = flow.within(self.flow_limits);
                let timeout_ms = flow.timeout_ms();
                (Some(flow), timeout_ms)
            }
            Some(Err(mistakes)) => {
                let mistake = mistakes.first().map(|mistake| mistake.message.clone()).unwrap_or_default();
                tracing::error!(
                    definition = %definition.reference.name, version = %definition.reference.version,
                    "a deployed flow is not understood by this version, its runs wait for repair: {mistake}"
                );
                (None, None)
            }
            None => (None, self.timeout_ms(&definition.reference)),
        };
        let mut inner = self.write();
        if let Some(flow) = flow {
            inner.drivers.insert(definition.reference.clone(), Arc::new(flow));
        }
        let name = (definition.reference.namespace.clone(), definition.reference.name.clone());
        let versions = inner.flows.entry(name).or_default();
        let deployed = versions
            .iter()
            .find(|version| version.definition.reference == definition.reference)
            .map(|version| version.definition.deployed);
        if deployed.is_some_and(|deployed| deployed >= definition.deployed) {
            return;
        }
        versions.retain(|version| version.definition.reference != definition.reference);
        versions.push(Version { definition: definition.clone(), timeout_ms });
        versions.sort_by_key(|version| version.definition.deployed);
    }
}

impl Definitions {
    /// No definitions yet.
    pub fn new() -> Self {
        Definitions::within(Limits::default())
    }

    /// No definitions yet; runs of flows begin under these limits.
    pub fn within(flow_limits: Limits) -> Self {
        Definitions {
            known: RwLock::default(),
            flow_limits,
            task: Some(Arc::new(TaskDriver)),
            workflow: Some(Arc::new(WorkflowDriver)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a worker has these functions: they can be started as tasks and workflows. What the store must learn of them
    /// comes back.
    pub fn announce<'a>(
        &self,
        namespace: &Arc<str>,
        worker: WorkerId,
        functions: impl IntoIterator<Item = (&'a String, Option<&'a TaskContract>)>,
        now: Wall,
    ) -> Vec<Definition> {
        let mut known = self.write();
        let mut news = Vec::new();
        for (function, contract) in functions {
            let (name, kind) = match workflow_of(function) {
                Some(name) => (name, DefinitionKind::Workflow),
                None => (function.as_str(), DefinitionKind::Task),
            };
            let key = ((namespace.clone(), Arc::<str>::from(name)), kind);
            let announced = known.code.entry(key.clone()).or_default();
            let schema = contract.and_then(|contract| contract.parameters.as_ref()).map_or("", Json::get);
            let options = contract.and_then(|contract| contract.options.clone());
            let said = Said { schema: schema.into(), options };
            if announced.announce(worker, &said) && kind == DefinitionKind::Task {
                let deployed = announced.since().map_or(now, |since| since.plus(1).max(now));
                news.push(Definition { deployed, ..versioned(code((&key, announced))) });
            }
        }
        news
    }

    /// Forgets what a worker has.
    pub fn withdraw(&self, worker: WorkerId) {
        self.write().code.values_mut().for_each(|announced| announced.withdraw(worker));
    }

    /// What a task says of its runs, where their start does not.
    pub fn defaults(&self, task: &DefinitionRef) -> Option<Arc<RunOptions>> {
        if task.kind != DefinitionKind::Task {
            return None;
        }
        let known = self.read();
        known.code.get(&((task.namespace.clone(), task.name.clone()), DefinitionKind::Task))?.said().options
    }

    /// Has a start of a task say what the task says of its runs.
    pub(crate) fn fill(&self, task: &DefinitionRef, options: &mut RunOptions) {
        if let Some(defaults) = self.defaults(task) {
            options.fill(&task.name, &defaults);
        }
    }

    /// Checks a start of a task: whether anybody has announced it, unless that does not matter, and whether it takes these parameters.
    pub fn admit(&self, task: &DefinitionRef, input: &str, accept_unknown: bool) -> Result<(), EngineError> {
        if task.kind != DefinitionKind::Task {
            return Ok(());
        }
        let known = self.read();
        let found = known.code.get(&((task.namespace.clone(), task.name.clone()), DefinitionKind::Task));
        match found.filter(|announced| announced.is_known()) {
            Some(announced) => announced.check(input).map_err(|(signature, misfits)| EngineError::Misfit {
                task: task.name.to_string(),
                signature,
                misfits,
            }),
            None if accept_unknown => Ok(()),
            None => {
                let tasks = known.code_names().filter(|(_, kind)| *kind == DefinitionKind::Task);
                let names = tasks.filter(|(name, _)| name.0 == task.namespace).map(|(name, _)| &*name.1);
                let hint = nearest(&task.name, names)
                    .map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
                Err(EngineError::UnknownTask(format!(
                    "no worker has ever announced a task `{}` in namespace `{}`.{hint} Start a worker that has it, or have the server take \
                     tasks that it does not know (riverrun server --accept-unknown-tasks)",
                    task.name, task.namespace
                )))
            }
        }
    }

    /// A flow's version, or its newest; else the task or workflow of that name. A version of a deleted flow is found by its number: its
    /// runs are shown until they are gone.
    pub fn find(&self, namespace: &str, name: &str, version: Option<&str>) -> Option<Definition> {
        let key: Name = (namespace.into(), name.into());
        let known = self.read();
        let flow = known.flows.get(&key).and_then(|versions| match version {
            Some(wanted) => versions.iter().find(|found| &*found.definition.reference.version == wanted),
            None => versions.last().filter(|_| !is_deleted(versions)),
        });
        if let Some(found) = flow {
            return Some(found.definition.clone());
        }
        if version.is_some_and(|version| !version.is_empty()) {
            return None;
        }
        let kinds = [DefinitionKind::Task, DefinitionKind::Workflow];
        let names = kinds.map(|kind| (key.clone(), kind));
        let mut found = names.iter().filter_map(|name| known.code.get_key_value(name));
        found.find(|(_, announced)| announced.is_known()).map(code)
    }

    /// What of a name can be deleted: a flow, else a task or a workflow; only one of this kind, if one is named. Also whether a connected
    /// worker has it.
    pub(crate) fn deletable(
        &self,
        namespace: &str,
        name: &str,
        kind: Option<DefinitionKind>,
    ) -> Option<(Definition, bool)> {
        let known = self.read();
        let key: Name = (namespace.into(), name.into());
        let flow =
            known.flows.get(&key).filter(|versions| !is_deleted(versions)).and_then(|known| known.last());
        if let Some(flow) = flow.filter(|_| kind.is_none_or(|kind| kind == DefinitionKind::Flow)) {
            return Some((flow.definition.clone(), false));
        }
        let kinds = [DefinitionKind::Task, DefinitionKind::Workflow];
        let names = kinds.into_iter().filter(|found| kind.is_none_or(|kind| kind == *found));
        let mut found = names.filter_map(|kind| known.code.get_key_value(&(key.clone(), kind)));
        let (name, announced) = found.find(|(_, announced)| announced.is_known())?;
        Some((code((name, announced)), announced.is_served()))
    }

    /// Forgets a workflow that workers have announced to this process.
    pub(crate) fn forget(&self, workflow: &DefinitionRef) {
        let name = (workflow.namespace.clone(), workflow.name.clone());
        self.write().code.remove(&(name, workflow.kind));
    }

    /// What a start means by a name.
    pub fn resolve(
        &self,
        namespace: &str,
        name: &str,
        kind: Option<DefinitionKind>,
        version: Option<&str>,
    ) -> Result<DefinitionRef, EngineError> {
        if name.starts_with(callback::RESERVED) {
            return Err(EngineError::Invalid(format!(
                "`{name}` is one of Riverrun's own tasks, which nobody starts but Riverrun: names that begin with `{}` are kept for them",
                callback::RESERVED
            )));
        }
        if let Some(kind @ (DefinitionKind::Task | DefinitionKind::Workflow | DefinitionKind::Builtin)) = kind
        {
            return Ok(reference(&((namespace.into(), name.into()), kind)));
        }
        let deleted = |found: &DefinitionRef| {
            let name = (found.namespace.clone(), found.name.clone());
            found.kind == DefinitionKind::Flow
                && self.read().flows.get(&name).is_some_and(|versions| is_deleted(versions))
        };
        self.find(namespace, name, version)
            .map(|definition| definition.reference)
            .filter(|found| kind.is_none_or(|kind| kind == found.kind) && !deleted(found))
            .ok_or_else(|| self.unknown(namespace, name, version))
    }

    /// A flow's own time limit.
    pub fn timeout_ms(&self, definition: &DefinitionRef) -> Option<u64> {
        let known = self.read();
        let versions = known.flows.get(&(definition.namespace.clone(), definition.name.clone()))?;
        let version = versions.iter().find(|version| version.definition.reference == *definition)?;
        version.timeout_ms
    }

    /// The newest version of each name of a namespace, flows first.
    pub fn all(&self, namespace: &str) -> Vec<Definition> {
        let known = self.read();
        let newest = |versions: &Vec<Version>| {
            versions.last().filter(|_| !is_deleted(versions)).map(|version| version.definition.clone())
        };
        let flows = known.flows.iter().filter(|(name, _)| &*name.0 == namespace);
        let announced =
            known.code.iter().filter(|((name, _), known)| &*name.0 == namespace && known.is_known());
        flows.filter_map(|(_, versions)| newest(versions)).chain(announced.map(code)).collect()
    }

    /// What was deployed last under a flow's name, also when that was its deletion.
    pub(crate) fn last(&self, namespace: &str, name: &str) -> Option<Definition> {
        let known = self.read();
        known.flows.get(&(namespace.into(), name.into()))?.last().map(|version| version.definition.clone())
    }

    /// The flows that were deleted.
    pub(crate) fn deleted(&self) -> Vec<DefinitionRef> {
        let known = self.read();
        let gone = known.flows.values().filter(|versions| is_deleted(versions));
        gone.filter_map(|versions| versions.last()).map(|last| last.definition.reference.clone()).collect()
    }

    fn unknown(&self, namespace: &str, name: &str, version: Option<&str>) -> EngineError {
        let known = self.read();
        let versions = known.flows.get(&(namespace.into(), name.into())).filter(|known| !is_deleted(known));
        if let (Some(version), Some(versions)) = (version, versions) {
            let has: Vec<&str> = versions.iter().map(|found| &*found.definition.reference.version).collect();
            return EngineError::UnknownDefinition(format!(
                "`{name}` has no version `{version}` in namespace `{namespace}`; it has {}",
                has.join(", ")
            ));
        }
        let flows = known.flows.iter().filter(|(_, versions)| !is_deleted(versions)).map(|(name, _)| name);
        let names = flows.chain(known.code_names().map(|(name, _)| name));
        let names = names.filter(|known| &*known.0 == namespace).map(|known| &*known.1);
        let advice = match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "deploy it, or connect a worker that has it".to_owned(),
        };
        EngineError::UnknownDefinition(format!("there is no `{name}` in namespace `{namespace}`; {advice}"))
    }
}

/// Whether the last that was deployed of a name was its deletion.
fn is_deleted(versions: &[Version]) -> bool {
    versions.last().is_some_and(|version| version.definition.deleted)
}

fn reference((name, kind): &(Name, DefinitionKind)) -> DefinitionRef {
    DefinitionRef { namespace: name.0.clone(), kind: *kind, name: name.1.clone(), version: "".into() }
}

fn code((name, announced): (&(Name, DefinitionKind), &Announced)) -> Definition {
    let Said { schema, options } = announced.said();
    let since = announced.since().unwrap_or(Wall(0));
    Definition { options, ..Definition::new(reference(name), schema, since) }
}

/// A task as it is kept once it is to be forgotten.
pub(crate) fn forgotten(task: Definition, deployed: Wall) -> Definition {
    Definition { deleted: true, deployed, ..versioned(task) }
}

/// A task as it is kept: each schema that it ever had is a version of it. Its runs have none.
fn versioned(mut task: Definition) -> Definition {
    let digest = Sha256::digest(task.source.as_bytes());
    let version = digest[..6].iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
    task.reference.version = format!("{version:012x}").into();
    task
}
