//! What `run`, `deploy` and `check` are given: a file, the name it goes by, and the mistakes in it.

use std::path::{Path, PathBuf};

use riverrun_plan::{Diagnostic, Flow, Limits};
use serde_json::json;

use crate::error::CliError;
use crate::excerpt::excerpts;
use crate::printer::Printer;

/// Something to run, as `FILE[:NAME]` names it.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    /// A flow, and the name it is kept under.
    Flow {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// A task of a Python file.
    Task {
        /// The file.
        file: PathBuf,
        /// The task; `None` where the file is to say which.
        name: Option<String>,
    },
    /// What a server has under this name: a flow that was deployed, or what a worker announced.
    Deployed(String),
}

impl Subject {
    /// Takes `FILE[:NAME]` apart. What is no file, and does not end as one, is a name.
    pub fn parse(argument: &str) -> Result<Subject, CliError> {
        let (file, name) = match argument.rsplit_once(':') {
            Some((file, name)) if !Path::new(argument).exists() => (file, Some(name)),
            _ => (argument, None),
        };
        let path = PathBuf::from(file);
        if name == Some("") {
            return Err(CliError::usage(
                format!("`{argument}` names nothing after the colon"),
                "write FILE or FILE:NAME",
            ));
        }
        let name = name.map(str::to_owned);
        match path.extension().and_then(|end| end.to_str()) {
            _ if path.is_dir() => Err(CliError::usage(
                format!("{} is a folder", path.display()),
                "name a flow in it (flow.yaml) or a task of a Python file (jobs.py:TASK); `riverrun dev` serves a whole folder",
            )),
            Some("yaml" | "yml" | "json") => {
                let name = name.unwrap_or_else(|| default_name(&path));
                Ok(Subject::Flow { file: path, name })
            }
            Some("py") => Ok(Subject::Task { file: path, name }),
            _ if path.exists() => Err(CliError::usage(
                format!("`{argument}` is neither a flow (.yaml) nor a Python file (.py)"),
                "write flow.yaml, flow.yaml:NAME or jobs.py:TASK, or the name of what a server has",
            )),
            _ => Ok(Subject::Deployed(argument.to_owned())),
        }
    }
}

/// The file's name without its ending; for a `flow.yaml` that of its folder, because many folders have one.
pub fn default_name(file: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
    let own = stem(file).unwrap_or_default();
    if own != "flow" {
        return own;
    }
    std::path::absolute(file)
        .ok()
        .and_then(|whole| {
            whole.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
        })
        .unwrap_or(own)
}

/// A flow file that was read and has no mistakes.
#[derive(Debug)]
pub struct FlowFile {
    /// Its text.
    pub source: String,
    /// What was made of it.
    pub flow: Flow,
}

/// Reads and checks a flow file, and shows its mistakes and warnings.
pub fn load(printer: &Printer, file: &Path) -> Result<FlowFile, CliError> {
    load_within(printer, file, Limits::default())
}

/// The same, where what is beyond these limits is a mistake.
pub fn load_within(printer: &Printer, file: &Path, limits: Limits) -> Result<FlowFile, CliError> {
    let source = read(file)?;
    match Flow::parse_within(&source, limits) {
        Ok((flow, warnings)) => {
            printer.note_all(&excerpts(file, &source, &warnings));
            Ok(FlowFile { source, flow })
        }
        Err(mistakes) => {
            printer.complain(&excerpts(file, &source, &mistakes));
            let count = mistakes.iter().filter(|mistake| mistake.is_error).count();
            Err(CliError::usage(
                format!("{} has {}", file.display(), counted(count, "mistake")),
                "mend them; `riverrun check` shows them again",
            ))
        }
    }
}

/// Reads a text file.
pub fn read(file: &Path) -> Result<String, CliError> {
    match std::fs::read(file) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            CliError::usage(
                format!(
                    "{} is not UTF-8 text: byte {} is wrong",
                    file.display(),
                    error.utf8_error().valid_up_to()
                ),
                "save it as UTF-8",
            )
        }),
        Err(error) => Err(CliError::named_file("read", file, &error)),
    }
}

/// `1 mistake`, `2 mistakes`.
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Mistakes and warnings for programs.
pub fn as_json(file: &Path, diagnostics: &[Diagnostic]) -> Vec<serde_json::Value> {
    let one = |diagnostic: &Diagnostic| {
        json!({
            "file": file.display().to_string(),
            "line": diagnostic.line,
            "column": diagnostic.column,
            "severity": if diagnostic.is_error { "error" } else { "warning" },
            "message": diagnostic.message,
            "advice": diagnostic.advice,
        })
    };
    diagnostics.iter().map(one).collect()
}
