//! Data flow: what a step's input and output are made of. Looks up what is asked for and decodes nothing else.

use riverrun_kernel::Json;

use super::Machine;
use super::frame::item_of;
use crate::condition::{Scope, find};
use crate::graph::{Kind, Mapping, Owner, Param, Root, Source, Step, StepIndex};
use crate::json::{self, Object};
use crate::path::Segment;

/// The input of the step that a frame is at.
pub(super) struct StepInput<'m, 'a> {
    pub(super) machine: &'m Machine<'a>,
    pub(super) cell: u32,
    pub(super) step: StepIndex,
}

/// The input of a frame: of the container that the list belongs to.
struct FrameInput<'m, 'a> {
    machine: &'m Machine<'a>,
    cell: u32,
}

/// A value at hand.
struct Value<'v>(&'v Json);

impl Scope for Value<'_> {
    fn member(&self, key: &str) -> Option<Json> {
        json::member(self.0.get(), key).map(Json::trusted)
    }

    fn whole(&self) -> Json {
        self.0.clone()
    }
}

impl Scope for &Object {
    fn member(&self, key: &str) -> Option<Json> {
        self.get(key).cloned()
    }

    fn whole(&self) -> Json {
        self.to_json()
    }
}

impl Scope for StepInput<'_, '_> {
    fn member(&self, key: &str) -> Option<Json> {
        let (machine, cell) = (self.machine, self.cell);
        match &machine.graph.steps[self.step].input {
            Some(mappings) => {
                let mapping = mappings.iter().rfind(|mapping| mapping.target == key)?;
                Some(machine.mapped_for_step(mapping, cell, self.step))
            }
            None => {
                machine.local(cell).get(key).cloned().or_else(|| FrameInput { machine, cell }.member(key))
            }
        }
    }

    fn whole(&self) -> Json {
        self.machine.step_input(self.cell, self.step).to_json()
    }
}

impl Scope for FrameInput<'_, '_> {
    fn member(&self, key: &str) -> Option<Json> {
        let machine = self.machine;
        let control = &machine.frame(self.cell).control;
        let step = match machine.graph.lists[control.list].owner {
            Owner::Flow => return machine.flow_input().get(key).cloned(),
            Owner::Foreach { step } => {
                if let Some(found) = machine.iteration_member(self.cell, step, key) {
                    return Some(found);
                }
                step
            }
            Owner::Choice { step, .. } | Owner::Parallel { step, .. } => step,
        };
        StepInput { machine, cell: control.up, step }.member(key)
    }

    fn whole(&self) -> Json {
        self.machine.frame_input(self.cell).to_json()
    }
}

impl Machine<'_> {
    /// The flow's own input, after its mappings.
    fn flow_input(&self) -> &Object {
        self.input.get_or_init(|| {
            let given = Object::parse(self.run.input.get()).unwrap_or_default();
            match &self.graph.input {
                Some(mappings) => self.build(mappings, &&given, &&Object::default(), ""),
                None => given,
            }
        })
    }

    /// The item or index of an iteration, if `key` names one of them.
    fn iteration_member(&self, cell: u32, step: StepIndex, key: &str) -> Option<Json> {
        let Kind::Foreach(foreach) = &self.graph.steps[step].kind else {
            return None;
        };
        if foreach.index.as_deref() == Some(key) {
            return Some(Json::trusted(self.frame(cell).control.number.to_string()));
        }
        (foreach.item == key).then(|| self.text(item_of(cell)).map_or_else(Json::null, Json::trusted))
    }

    pub(super) fn frame_input(&self, cell: u32) -> &Object {
        let frame = self.frame(cell);
        frame.input.get_or_init(|| {
            let step = match self.graph.lists[frame.control.list].owner {
                Owner::Flow => return self.flow_input().clone(),
                Owner::Choice { step, .. } | Owner::Parallel { step, .. } | Owner::Foreach { step } => step,
            };
            let mut input = self.step_input(frame.control.up, step);
            if let Kind::Foreach(foreach) = &self.graph.steps[step].kind {
                for key in std::iter::once(&foreach.item).chain(&foreach.index) {
                    if let Some(value) = self.iteration_member(cell, step, key) {
                        input.0.insert(key.clone(), value);
                    }
                }
            }
            input
        })
    }

    /// The whole input of the step that a frame is at.
    pub(super) fn step_input(&self, cell: u32, step: StepIndex) -> Object {
        let known = &self.graph.steps[step];
        if let Some(mappings) = &known.input {
            let local = self.local(cell);
            return self.build(mappings, &FrameInput { machine: self, cell }, &local, &known.name);
        }
        let mut input = self.frame_input(cell).clone();
        input.merge(self.local(cell));
        input
    }

    /// The output of a step, given what its own local became.
    pub(super) fn step_output(&self, cell: u32, step: StepIndex, local: &Json) -> Object {
        let known = &self.graph.steps[step];
        match (&known.output, &known.kind) {
            (Some(mappings), _) => {
                self.build(mappings, &StepInput { machine: self, cell, step }, &Value(local), &known.name)
            }
            (None, Kind::Parallel(_) | Kind::Foreach(_)) => Object::default(),
            (None, _) => Object::parse(local.get()).unwrap_or_default(),
        }
    }

    /// What `errorMappings` make of a failure.
    pub(super) fn error_output(&self, step: &Step, mappings: &[Mapping], error: &Json) -> Object {
        self.build(mappings, &&Object::default(), &Value(error), &step.name)
    }

    /// The flow's output.
    pub(super) fn flow_output(&self, cell: u32) -> Json {
        let local = self.local(cell);
        match &self.graph.output {
            Some(mappings) => self.build(mappings, &FrameInput { machine: self, cell }, &local, "").to_json(),
            None => local.to_json(),
        }
    }

    fn build(&self, mappings: &[Mapping], input: &dyn Scope, local: &dyn Scope, step: &str) -> Object {
        let mut object = Object::default();
        for mapping in mappings {
            object.0.insert(mapping.target.clone(), self.mapped(mapping, input, local, step));
        }
        object
    }

    fn mapped_for_step(&self, mapping: &Mapping, cell: u32, step: StepIndex) -> Json {
        let local = self.local(cell);
        self.mapped(mapping, &FrameInput { machine: self, cell }, &local, &self.graph.steps[step].name)
    }

    /// A path that finds nothing gives `null`.
    fn mapped(&self, mapping: &Mapping, input: &dyn Scope, local: &dyn Scope, step: &str) -> Json {
        match &mapping.source {
            Source::Constant(value) => value.clone(),
            Source::Path(root, path) => match root {
                Root::Input => find(input, path),
                Root::Local => find(local, path),
                Root::Context => find(&Value(&self.context(step)), path),
            }
            .unwrap_or_else(Json::null),
        }
    }

    /// What `$context` stands for. The token is the kernel's to fill in. An execution goes by the name that it was started under.
    fn context(&self, step: &str) -> Json {
        let run = json::quote(&self.run.run.to_string());
        let name = self.run.continue_id.map_or_else(|| run.clone(), json::quote);
        let flow = json::quote(&self.run.definition.name);
        let step = json::quote(step);
        Json::trusted(format!(
            r#"{{"execution":{{"name":{name},"id":{run}}},"flow":{{"name":{flow},"id":{flow}}},"step":{{"name":{step}}},"task":{{"token":null}}}}"#
        ))
    }

    /// Pointers to where a step's input wants the callback token.
    pub(super) fn token_paths(&self, step: StepIndex) -> Vec<String> {
        const WAY: [&str; 2] = ["task", "token"];
        let Some(mappings) = &self.graph.steps[step].input else {
            return Vec::new();
        };
        let leads_there = |path: &[Segment]| {
            path.len() <= WAY.len()
                && path.iter().zip(WAY).all(|(segment, key)| *segment == Segment::Key(key.to_owned()))
        };
        let mut paths = Vec::new();
        for (place, mapping) in mappings.iter().enumerate() {
            let is_last = !mappings[place + 1..].iter().any(|later| later.target == mapping.target);
            if let Source::Path(Root::Context, path) = &mapping.source
                && leads_there(path)
                && is_last
            {
                let target = mapping.target.replace('~', "~0").replace('/', "~1");
                let way = [&[target.as_str()], &WAY[path.len()..]].concat();
                paths.push(format!("/{}", way.join("/")));
            }
        }
        paths
    }
}

/// A service parameter's value; `None` for a path that finds nothing.
pub(super) fn param_value(param: &Param, input: &dyn Scope) -> Option<Json> {
    match param {
        Param::Constant(value) => Some(value.clone()),
        Param::Path(path) => find(input, path),
        Param::List(items) => {
            let items: Vec<Json> =
                items.iter().map(|item| param_value(item, input).unwrap_or_else(Json::null)).collect();
            Some(json::array(items.iter().map(Json::get)))
        }
        Param::Object(entries) => {
            let mut object = Object::default();
            for (key, value) in entries {
                object.0.insert(key.clone(), param_value(value, input).unwrap_or_else(Json::null));
            }
            Some(object.to_json())
        }
    }
}
