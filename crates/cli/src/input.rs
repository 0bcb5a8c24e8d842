//! What a user gives on the command line: JSON as text, `@FILE`, or `-` for stdin; the id of a run.

use std::io::Read;
use std::path::Path;

use riverrun_kernel::{InvalidId, Json, RunId};

use crate::args::Target;
use crate::error::CliError;

/// Reads one JSON value.
pub fn read(argument: &str) -> Result<Json, CliError> {
    let (text, source) = match argument {
        "-" => (stdin()?, "stdin".to_owned()),
        _ => match argument.strip_prefix('@') {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| CliError::named_file("read the input file", Path::new(path), &error))?;
                (text, path.to_owned())
            }
            None => (argument.to_owned(), "the command line".to_owned()),
        },
    };
    Json::parse(text.trim()).map_err(|error| {
        CliError::usage(
            format!("the input from {source} is not JSON: {error}"),
            r#"give one JSON value, in a shell as '{"delay": 20}', @FILE or - for stdin"#,
        )
    })
}

/// Reads the id of a run that is to be found there.
pub fn run_id(text: &str, target: &Target) -> Result<RunId, CliError> {
    text.parse().map_err(|error: InvalidId| {
        let list = format!("`riverrun runs list{}`", target.options());
        CliError::usage(error.to_string(), format!("{list} shows the ids of runs"))
    })
}

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| {
        CliError::usage(format!("stdin is not text: {error}"), "give the input as UTF-8 JSON")
    })?;
    Ok(text)
}
