//! Page sizes and cursors. A cursor is opaque to clients: it names the last item that was seen.

use riverrun_kernel::{KeyId, RunId, Wall};
use riverrun_store::Cursor;
use riverrun_wire::http::Code;

use crate::problem::Refused;

/// Items on a page unless the client asks for another number.
const DEFAULT_PAGE: usize = 100;
/// The most that a client can ask for: the limit `max_page`.
pub(crate) const MAX_PAGE: usize = 1_000;

/// The size of a page.
pub(crate) fn page_size(asked: Option<usize>) -> Result<usize, Refused> {
    match asked {
        None => Ok(DEFAULT_PAGE),
        Some(0) => Err(Refused::invalid("limit is 0: ask for at least one item")),
        Some(limit) if limit > MAX_PAGE => Err(Refused::new(
            Code::OverLimit,
            format!("limit is {limit}, and max_page {MAX_PAGE}: read page after page with next_cursor"),
        )
        .with("limit", "max_page")),
        Some(limit) => Ok(limit),
    }
}

fn bad_cursor() -> Refused {
    Refused::invalid("the cursor is not one of this server's: give next_cursor of the page before, unchanged")
}

/// A place in a list of runs, as text.
pub(crate) fn run_cursor(cursor: Cursor) -> String {
    format!("r{:x}.{}", cursor.created.0, cursor.id)
}

/// The reverse.
pub(crate) fn parse_run_cursor(text: &str) -> Result<Cursor, Refused> {
    let parse = || {
        let (created, id) = text.strip_prefix('r')?.split_once('.')?;
        Some(Cursor { created: Wall(i64::from_str_radix(created, 16).ok()?), id: id.parse::<RunId>().ok()? })
    };
    parse().ok_or_else(bad_cursor)
}

/// A place in a list of keys, as text: hex digits, because a key may hold any character.
pub(crate) fn key_cursor(key: &KeyId) -> String {
    let text = serde_json::to_string(key).unwrap_or_default();
    text.bytes().fold(String::from("k"), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        hex
    })
}

/// The reverse.
pub(crate) fn parse_key_cursor(text: &str) -> Result<KeyId, Refused> {
    let parse = || {
        let digits = text.strip_prefix('k')?.as_bytes();
        let bytes: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        serde_json::from_slice(&bytes?).ok()
    };
    parse().ok_or_else(bad_cursor)
}

/// A place in a list of schedules, as text.
pub(crate) fn name_cursor(name: &str) -> String {
    format!("s{name}")
}

/// The reverse.
pub(crate) fn parse_name_cursor(text: &str) -> Result<String, Refused> {
    text.strip_prefix('s').map(str::to_owned).ok_or_else(bad_cursor)
}
