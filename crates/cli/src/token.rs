//! Access tokens: where they come from. They are never printed.

use std::path::Path;

use crate::error::CliError;

/// The environment variable that holds a token itself.
const VARIABLE: &str = "RIVERRUN_TOKEN";

/// The token to show to a server: of the file that was named, of the environment, or of the file that the server's
/// data directory names.
pub fn for_client(named: Option<&Path>, announced: Option<&Path>) -> Result<Option<String>, CliError> {
    match (named, from_environment(), announced) {
        (Some(file), ..) => read(file).map(Some),
        (None, Some(token), _) => Ok(Some(token)),
        (None, None, Some(file)) => read(file).map(Some),
        (None, None, None) => Ok(None),
    }
}

/// The token that a server asks for; one that is of no use is refused here, before anything is opened.
pub fn for_server(named: Option<&Path>) -> Result<Option<String>, CliError> {
    let token = named.map_or_else(|| Ok(from_environment()), |file| read(file).map(Some))?;
    if token.as_deref().is_some_and(|token| !riverrun_server::is_strong_token(token)) {
        let origin = named.map_or_else(|| VARIABLE.to_owned(), |file| file.display().to_string());
        return Err(CliError::usage(
            format!(
                "the access token in {origin} must have at least 16 characters, all of them visible ASCII"
            ),
            "make one that nobody guesses, as with `openssl rand -hex 16`",
        ));
    }
    Ok(token)
}

/// 128 random bits.
pub fn make() -> Result<String, CliError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::failed(format!("the system gives no random bytes: {error}"), "report this")
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn from_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn read(file: &Path) -> Result<String, CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::named_file("read the token file", file, &error))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(CliError::usage(
            format!("the token file {} is empty", file.display()),
            "write the access token into it, on one line",
        ));
    }
    Ok(token.to_owned())
}
