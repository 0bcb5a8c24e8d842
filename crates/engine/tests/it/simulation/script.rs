//! What the simulated runs do: small scripts as drivers, and one real flow.

use std::sync::Arc;

use riverrun_engine::Definitions;
use riverrun_engine::sequencer::Library;
use riverrun_kernel::driver::{
    Action, Call, Child, DriverFault, OnParentEnd, RetryPolicy, RunContext, Sleep, Then, Turn, Wake, Work,
};
use riverrun_kernel::{Definition, DefinitionKind, DefinitionRef, Driver, Drivers, Json};

/// A flow of the plan crate; deployed like any other.
pub const FLOW: &str = "version: v1
type: flow
steps:
  - type: task
    name: Start
    resourceArn: acs:fc:::services/svc/functions/work
  - type: wait
    name: Pause
    duration: 3
  - type: task
    name: Again
    resourceArn: acs:fc:::services/svc/functions/work
";

/// The scripts, by name.
pub const SCRIPTS: [&str; 8] =
    ["chain", "sleepy", "signalled", "parent", "abandoner", "called_back", "spinner", "pair"];

enum Op {
    Call,
    CallBack,
    Sleep(u64),
    Signal,
    Child(OnParentEnd),
    Spin(u32),
    Pair,
}

fn script(name: &str) -> Option<Vec<Op>> {
    Some(match name {
        "chain" => vec![Op::Call, Op::Call, Op::Call],
        "sleepy" => vec![Op::Call, Op::Sleep(4_000), Op::Call],
        "signalled" => vec![Op::Signal, Op::Call],
        "parent" => vec![Op::Call, Op::Child(OnParentEnd::Cancel), Op::Child(OnParentEnd::Wait)],
        "abandoner" => vec![Op::Child(OnParentEnd::Abandon), Op::Call],
        "called_back" => vec![Op::CallBack, Op::Call],
        "spinner" => vec![Op::Spin(700), Op::Call],
        "pair" => vec![Op::Pair, Op::Call],
        _ => return None,
    })
}

pub fn reference(kind: DefinitionKind, name: &str) -> DefinitionRef {
    DefinitionRef { namespace: "default".into(), kind, name: name.into(), version: "".into() }
}

pub fn call() -> Call {
    Call {
        function: "svc/work".to_owned(),
        input: Json::empty_object(),
        queue: "default".to_owned(),
        priority: 0,
        timeout_ms: Some(6_000),
        retry: vec![RetryPolicy {
            errors: Vec::new(),
            max_retries: 3,
            interval_ms: 500,
            multiplier: 2.0,
            max_interval_ms: 5_000,
            ..RetryPolicy::default()
        }],
        at_most_once: false,
        max_crashes: 5,
        callback: false,
        callback_paths: Vec::new(),
        limit: None,
    }
}

/// Runs a script. Cell 0 holds the position, the transitions spun, and how many steps are open.
struct Script(Vec<Op>);

impl Driver for Script {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault> {
        let cell = run.cells.get(&0).map_or("[0,0,0]", |text| text);
        let [mut at, mut spun, mut open]: [u32; 3] =
            serde_json::from_str(cell).map_err(|error| DriverFault(error.to_string()))?;
        let mut turn = Turn::default();
        match wake {
            Wake::StepEnded { outcome: Err(failure), .. } => turn.then = Then::End(Err(failure.clone())),
            Wake::StepEnded { outcome: Ok(_), .. } => {
                open = open.saturating_sub(1);
                at += u32::from(open == 0);
            }
            Wake::Reopened => open = 0,
            Wake::Started | Wake::Continued => {}
        }
        while open == 0 && turn.then == Then::Wait {
            turn.transitions += 1;
            let Some(op) = self.0.get(at as usize) else {
                turn.then = Then::End(Ok(Json::trusted(format!("{{\"did\":{at}}}"))));
                break;
            };
            if let Op::Spin(count) = op {
                spun += 1;
                if spun == *count {
                    at += 1;
                } else if turn.transitions >= fuel {
                    turn.then = Then::Continue;
                }
                continue;
            }
            open = 1;
            let mut begin = |tag: u64, work: Work| {
                turn.actions.push(Action::Begin { tag, path: format!("s{at}.{tag}"), work });
            };
            match op {
                Op::Call => begin(1, Work::Call(call())),
                Op::CallBack => {
                    begin(1, Work::Call(Call { callback: true, timeout_ms: Some(600_000), ..call() }));
                }
                Op::Sleep(ms) => begin(1, Work::Sleep(Sleep::For(*ms))),
                Op::Signal => begin(1, Work::Signal { name: "go".to_owned(), timeout_ms: None }),
                Op::Child(on_parent_end) => begin(
                    1,
                    Work::Child(Child {
                        definition: reference(DefinitionKind::Flow, "chain"),
                        input: Json::empty_object(),
                        // A key of its own sends it to a partition of its own.
                        continue_id: Some(format!("child-{}-{at}", run.run)),
                        is_name: false,
                        wait: *on_parent_end != OnParentEnd::Abandon,
                        callback: None,
                        on_parent_end: *on_parent_end,
                        options: Box::default(),
                    }),
                ),
                Op::Pair => {
                    begin(1, Work::Call(call()));
                    begin(2, Work::Call(call()));
                    open = 2;
                }
                Op::Spin(_) => {}
            }
        }
        turn.cells.push((0, Some(format!("[{at},{spun},{open}]").into())));
        Ok(turn)
    }
}

/// The scripts, and whatever was deployed.
#[derive(Debug)]
pub struct Scripts(pub Definitions);

impl Drivers for Scripts {
    fn driver(&self, definition: &DefinitionRef) -> Option<Arc<dyn Driver>> {
        let own = || script(&definition.name).map(|ops| Arc::new(Script(ops)) as Arc<dyn Driver>);
        if definition.kind == DefinitionKind::Flow
            && let Some(driver) = own()
        {
            return Some(driver);
        }
        self.0.driver(definition)
    }
}

impl Library for Scripts {
    fn learn(&self, definition: &Definition) {
        self.0.learn(definition);
    }
}
