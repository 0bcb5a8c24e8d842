//! Text in a drawing: how wide it is, where it breaks, how it is escaped.
//!
//! No font is at hand, so widths are estimates on the safe side for the fonts that the picture asks for.

/// How much wider bold text is.
pub(super) const BOLD: f64 = 1.1;

/// The width of a text at a font size, estimated.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(share).sum::<f64>() * size
}

/// The width of a character, in parts of the font size.
fn share(c: char) -> f64 {
    match c {
        'i' | 'l' | 'j' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.31,
        't' | 'f' | 'r' | '(' | ')' | '[' | ']' | '{' | '}' | '/' | '\\' | '-' | '"' | '`' | '·' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 0.92,
        'A'..='Z' | '0'..='9' | '&' | '+' | '<' | '>' | '=' | '~' | '#' => 0.68,
        '\u{0300}'..='\u{036f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        c if is_wide(c) => 1.05,
        c if c.is_ascii() => 0.61,
        _ => 0.65,
    }
}

/// Characters that are as wide as they are high.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}')
}

/// The text, cut off with `…` where it is too wide.
pub(super) fn clip(text: &str, size: f64, limit: f64) -> String {
    if width(text, size) <= limit {
        return text.to_owned();
    }
    let room = limit - width("…", size);
    let mut used = 0.0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += share(c) * size;
            used <= room
        })
        .collect();
    format!("{}…", kept.trim_end())
}

/// The text in at most `lines` lines; it breaks after signs and before capitals where it can.
pub(super) fn wrap(text: &str, size: f64, limit: f64, lines: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut start = 0;
    while start < characters.len() {
        let rest: String = characters[start..].iter().collect();
        if found.len() + 1 == lines || width(&rest, size) <= limit {
            found.push(clip(&rest, size, limit));
            break;
        }
        let mut used = 0.0;
        let fits = characters[start..]
            .iter()
            .take_while(|&&c| {
                used += share(c) * size;
                used <= limit
            })
            .count()
            .max(1);
        let can_break = |at: usize| {
            let (before, after) = (characters[start + at - 1], characters[start + at]);
            before.is_whitespace()
                || "_-./:,，、。".contains(before)
                || (before.is_lowercase() && after.is_uppercase())
                || is_wide(after)
        };
        let at = (fits / 2 + 1..=fits).rev().find(|&at| can_break(at)).unwrap_or(fits);
        found.push(characters[start..start + at].iter().collect::<String>().trim_end().to_owned());
        start += at;
    }
    if found.is_empty() {
        found.push(String::new());
    }
    found
}

/// A text for XML, as content or as the value of an attribute. What XML cannot hold becomes a replacement character, and
/// so does what would turn the direction of the text around it.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                escaped.push('\u{fffd}');
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A length of time, for a person: `350 ms`, `2.4 s`, `3 min 20 s`, `4 h`, `2 d 6 h`.
pub(super) fn duration(ms: u64) -> String {
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => {
            let tenths = ms % 1000 / 100;
            if tenths == 0 { format!("{seconds} s") } else { format!("{seconds}.{tenths} s") }
        }
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}
