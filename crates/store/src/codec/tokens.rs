//! A MessagePack text as a flat sequence of tokens. Containers are tokens of their own (they carry counts, not byte
//! lengths), so a token can be exchanged for another without touching what is around it.

/// Marker of an array of up to fifteen items: the count is in its lower half.
pub(super) const FIXARRAY: u8 = 0x90;
/// Marker of an extension value with one byte of length and one of type.
pub(super) const EXT8: u8 = 0xc7;
/// Marker of a text with four bytes of length.
pub(super) const STR32: u8 = 0xdb;
/// Marker of an array with four bytes of count.
pub(super) const ARRAY32: u8 = 0xdd;

/// One token: a scalar, a text, or the head of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    /// All of it, marker included.
    pub(super) bytes: &'a [u8],
    /// Where what comes after marker and length begins.
    body: usize,
}

impl<'a> Token<'a> {
    /// The bytes of a text, if it is one.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        matches!(self.bytes[0], 0xa0..=0xbf | 0xd9..=STR32).then(|| &self.bytes[self.body..])
    }

    /// Type and content, if it is an extension value with a length byte.
    pub(super) fn extension(&self) -> Option<(u8, &'a [u8])> {
        (self.bytes[0] == EXT8).then(|| (self.bytes[2], &self.bytes[self.body..]))
    }
}

/// Iterates over tokens. Bytes that are not MessagePack end it, and the decoder that follows finds the value cut off.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Tokens { rest: encoded }
    }

    /// Length of the head (marker, length, type) and of the body of the next token.
    fn shape(&self) -> Option<(usize, usize)> {
        let length = |bytes: usize| -> Option<usize> {
            let field = self.rest.get(1..=bytes)?;
            Some(field.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
        };
        let marker = *self.rest.first()?;
        Some(match marker {
            0xa0..=0xbf => (1, usize::from(marker & 0x1f)),
            0xc4 | 0xd9 => (2, length(1)?),
            0xc5 | 0xda => (3, length(2)?),
            0xc6 | STR32 => (5, length(4)?),
            EXT8 => (3, length(1)?),
            0xc8 => (4, length(2)?),
            0xc9 => (6, length(4)?),
            0xd4..=0xd8 => (2, 1 << (marker - 0xd4)),
            0xcc | 0xd0 => (1, 1),
            0xcd | 0xd1 | 0xdc | 0xde => (1, 2),
            0xca | 0xce | 0xd2 | ARRAY32 | 0xdf => (1, 4),
            0xcb | 0xcf | 0xd3 => (1, 8),
            0xc1 => return None,
            _ => (1, 0),
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (head, body) = self.shape()?;
        let bytes = self.rest.get(..head + body)?;
        self.rest = &self.rest[head + body..];
        Some(Token { bytes, body: head })
    }
}
