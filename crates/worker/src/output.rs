//! What attempts print: decoded, cut at the limit, and the cut announced.

use std::fmt::Write;

/// How much of an attempt's output may still be kept.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    limit: usize,
    cut: bool,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Budget { left: limit, limit, cut: false }
    }

    /// The part of `text` that is within the limit; where it is crossed, with a line that says so; `None` beyond.
    pub fn take(&mut self, mut text: String) -> Option<String> {
        if self.cut {
            return None;
        }
        if text.len() <= self.left {
            self.left -= text.len();
            return Some(text);
        }
        self.cut = true;
        text.truncate(text.floor_char_boundary(self.left));
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "[output cut here: the limit max_output_bytes is {} bytes for one attempt]",
            self.limit
        );
        Some(text)
    }
}

/// Decodes UTF-8 that arrives in pieces; what is none becomes U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a character whose end has not arrived.
    tail: Vec<u8>,
}

impl Decoder {
    pub fn feed(&mut self, piece: &[u8]) -> String {
        self.tail.extend_from_slice(piece);
        let complete = self.tail.len() - unfinished(&self.tail);
        let text = String::from_utf8_lossy(&self.tail[..complete]).into_owned();
        self.tail.drain(..complete);
        text
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|&back| {
            let first = bytes[bytes.len() - back];
            let length = match first {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => 0,
            };
            length > back && bytes[bytes.len() - back + 1..].iter().all(|byte| byte & 0xC0 == 0x80)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_by_a_read_is_put_together() {
        let text = "naïve 流程 🎉 end";
        for cut in 0..text.len() {
            let mut decoder = Decoder::default();
            let mut all = decoder.feed(&text.as_bytes()[..cut]);
            all.push_str(&decoder.feed(&text.as_bytes()[cut..]));
            assert_eq!(all, text, "cut at byte {cut}");
        }
    }

    #[test]
    fn bytes_of_another_encoding_are_shown_as_replacements() {
        let gbk = [0xC4, 0xE3, 0xBA, 0xC3, b'\n'];
        let text = Decoder::default().feed(&gbk);
        assert!(text.ends_with('\n') && text.contains('\u{FFFD}'), "{text:?}");
    }

    #[test]
    fn output_over_the_limit_is_cut_once_and_says_so() {
        let mut budget = Budget::new(5);
        assert_eq!(budget.take("abc".to_owned()), Some("abc".to_owned()));
        let cut = budget.take("流程".to_owned()).expect("the announcement");
        assert_eq!(cut, "[output cut here: the limit max_output_bytes is 5 bytes for one attempt]\n");
        assert_eq!(budget.take("more".to_owned()), None);
    }
}
