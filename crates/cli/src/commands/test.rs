//! `riverrun test`: plays a flow's cases, with no server and no functions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use riverrun_plan::{Case, Crash, Flow, Limits, Played, Program, rehearse};
use serde_json::json;

use crate::args::Test;
use crate::error::CliError;
use crate::excerpt::excerpts;
use crate::exit::Exit;
use crate::flow_file::{counted, default_name, load_within, read};
use crate::printer::{Printer, bad, bold, dim, good};

/// Plays every case, also after one of them went wrong.
pub fn test(printer: &Printer, args: &Test) -> Result<Exit, CliError> {
    let limits = Limits::from(args.limits);
    let flow = Arc::new(load_within(printer, &args.file, limits)?.flow);
    let mut told = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for file in case_files(args)? {
        let cases = read_cases(printer, &file, &flow)?;
        let wanted = |case: &&Case| args.only.as_ref().is_none_or(|text| case.name.contains(text));
        for case in cases.iter().filter(wanted) {
            let program = program(printer, args, &file, &flow, case)?;
            let played = rehearse(&program, case, Crash::Never);
            let differences = played.differences(case);
            if differences.is_empty() {
                passed += 1;
            } else {
                failed += 1;
            }
            if printer.is_json() {
                told.push(as_json(&file, case, &played, &differences));
            } else {
                tell(printer, args, &file, case, &played, &differences);
            }
        }
    }
    if printer.is_json() {
        printer.json(&told);
    }
    if passed + failed == 0 {
        let text = args.only.as_deref().unwrap_or_default();
        return Err(CliError::usage(
            format!("no case has `{text}` in its name"),
            "leave --only out to play all",
        ));
    }
    let count = counted(passed, "case");
    if failed > 0 {
        printer.note(&format!("{}, {} passed", bad(&format!("{} failed", counted(failed, "case"))), passed));
        return Ok(Exit::Failed);
    }
    printer.note(&format!("{} {count} passed", good("ok")));
    Ok(Exit::Ok)
}

/// The files that were named, or the one that goes by the flow's name.
fn case_files(args: &Test) -> Result<Vec<PathBuf>, CliError> {
    if !args.cases.is_empty() {
        return Ok(args.cases.clone());
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let usual = [
        folder.join(format!("{stem}.case.yaml")),
        folder.join("case.yaml"),
        folder.join("cases").join(format!("{stem}.yaml")),
    ];
    match usual.iter().find(|file| file.is_file()) {
        Some(file) => Ok(vec![file.clone()]),
        None => Err(CliError::usage(
            format!("{} has no file of cases", args.file.display()),
            format!("write one as {}, or name it with --case", usual[0].display()),
        )),
    }
}

fn read_cases(printer: &Printer, file: &Path, flow: &Flow) -> Result<Vec<Case>, CliError> {
    let source = read(file)?;
    match Case::parse(&source, flow) {
        Ok((cases, warnings)) => {
            printer.note_all(&excerpts(file, &source, &warnings));
            Ok(cases)
        }
        Err(mistakes) => {
            printer.complain(&excerpts(file, &source, &mistakes));
            let count = mistakes.iter().filter(|mistake| mistake.is_error).count();
            Err(CliError::usage(
                format!("{} has {}", file.display(), counted(count, "mistake")),
                "mend them, then test again",
            ))
        }
    }
}

/// The flow, and the child flows that the case names files for.
fn program(
    printer: &Printer,
    args: &Test,
    case_file: &Path,
    flow: &Arc<Flow>,
    case: &Case,
) -> Result<Program, CliError> {
    let mut children = BTreeMap::new();
    for (name, file) in case.files() {
        let file = case_file.parent().unwrap_or(Path::new(".")).join(file);
        children.insert(name.to_owned(), Arc::new(load_within(printer, &file, args.limits.into())?.flow));
    }
    Ok(Program { name: default_name(&args.file), flow: Arc::clone(flow), children })
}

fn tell(printer: &Printer, args: &Test, file: &Path, case: &Case, played: &Played, differences: &[String]) {
    let took =
        dim(&format!("{} on its clock, {}", seconds(played.took_ms), counted(played.calls.len(), "call")));
    if differences.is_empty() {
        printer.text(&format!("{} {} {took}", good("pass"), case.name));
    } else {
        let place = dim(&format!("{}:{}", file.display(), case.line));
        printer.text(&format!("{} {} {place}", bad("FAIL"), bold(&case.name)));
        for difference in differences {
            printer.text(&indented(difference));
        }
    }
    if args.journal {
        printer.text(&indented(&played.lines().join("\n")));
    }
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn as_json(file: &Path, case: &Case, played: &Played, differences: &[String]) -> serde_json::Value {
    json!({
        "file": file.display().to_string(),
        "line": case.line,
        "case": case.name,
        "passed": differences.is_empty(),
        "differences": differences,
        "state": played.state,
        "output": played.output(),
        "took_ms": played.took_ms,
        "steps": played.steps(),
        "calls": played.calls.iter().map(|call| json!({"name": call.name, "path": call.path, "input": call.input})).collect::<Vec<_>>(),
    })
}
