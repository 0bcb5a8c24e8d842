//! Pickles, as far as they are plain values: text, numbers, lists, dictionaries.
//!
//! A pickle is a program for a machine that can import and call anything. This reader has no such machine: the opcodes that call or make
//! objects are refused by their names, and so is everything that protocol 2 does not know. Main functions: [`read`], [`write`].

use serde_json::{Map, Number, Value};

/// Values within values; more are refused, as are texts that would grow beyond measure by repeating themselves.
const MAX_DEPTH: usize = 100;
const MAX_VALUES: usize = 100_000;

/// Why a pickle is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It does not begin with protocol 2.
    #[error("it is no pickle of protocol 2: those begin with 80 02")]
    Protocol,
    /// It would call something, or make an object.
    #[error(
        "the pickle wants to execute something ({name} at byte {at}{target}): only text, numbers, lists and dictionaries are read, and nothing is ever executed"
    )]
    Executes {
        /// The opcode's name.
        name: &'static str,
        /// Where it stands.
        at: usize,
        /// What it names, where it does.
        target: String,
    },
    /// An opcode that protocol 2 does not have.
    #[error("the pickle has the opcode {opcode:#04x} at byte {at}, which protocol 2 does not know")]
    Unknown {
        /// The opcode.
        opcode: u8,
        /// Where it stands.
        at: usize,
    },
    /// It ends too early, or does not fit together.
    #[error("the pickle is damaged at byte {at}: {problem}")]
    Damaged {
        /// Where.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A value that JSON does not have.
    #[error("the pickle holds what JSON cannot: {0}")]
    NotJson(&'static str),
    /// It is larger than anything that is kept so.
    #[error("the pickle has more than {0}")]
    TooLarge(&'static str),
}

/// Reads a pickle of plain values.
pub fn read(bytes: &[u8]) -> Result<Value, PickleError> {
    let body = bytes.strip_prefix(&[0x80, 2]).ok_or(PickleError::Protocol)?;
    let mut machine = Machine { bytes, at: bytes.len() - body.len(), ..Machine::default() };
    let root = machine.run()?;
    Tree { nodes: &machine.nodes, values: 0 }.value(root, 0)
}

/// Writes an ASCII text as the original library's `pickle.dumps(text, 2)` does, byte for byte.
pub fn write(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    if let Ok(length) = u8::try_from(text.len()) {
        bytes.extend([b'U', length]);
    } else {
        bytes.push(b'T');
        bytes.extend((text.len() as u32).to_le_bytes());
    }
    bytes.extend(text.as_bytes());
    bytes.extend([b'q', 1, b'.']);
    bytes
}

/// A value under construction. Containers name their parts by place, because a pickle may fill one that it has used already.
#[derive(Debug)]
enum Node {
    Plain(Value),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u32, usize>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<usize, PickleError> {
        loop {
            let at = self.at;
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.end(),
                b'U' => {
                    let length = usize::from(self.byte()?);
                    self.text(length)?;
                }
                b'T' | b'X' => {
                    let length = self.u32()? as usize;
                    self.text(length)?;
                }
                b'N' => self.push(Node::Plain(Value::Null))?,
                0x88 | 0x89 => self.push(Node::Plain(Value::Bool(opcode == 0x88)))?,
                b'K' => {
                    let number = self.byte()?;
                    self.push(Node::Plain(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.array()?);
                    self.push(Node::Plain(number.into()))?;
                }
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.push(Node::Plain(number.into()))?;
                }
                0x8A => {
                    let length = usize::from(self.byte()?);
                    self.long(length)?;
                }
                b'G' => self.float()?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b']' | b')' => self.push(Node::List(Vec::new()))?,
                b'(' => self.marks.push(self.stack.len()),
                b't' => {
                    let parts = self.since_mark(at)?;
                    self.push(Node::List(parts))?;
                }
                0x85..=0x87 => {
                    let parts = self.last(usize::from(opcode - 0x84), at)?;
                    self.push(Node::List(parts))?;
                }
                b'e' => {
                    let parts = self.since_mark(at)?;
                    self.extend_list(parts, at)?;
                }
                b'a' => {
                    let parts = self.last(1, at)?;
                    self.extend_list(parts, at)?;
                }
                b'u' => {
                    let parts = self.since_mark(at)?;
                    self.extend_dict(&parts, at)?;
                }
                b's' => {
                    let parts = self.last(2, at)?;
                    self.extend_dict(&parts, at)?;
                }
                b'q' | b'r' => {
                    let place = self.place(opcode == b'q')?;
                    let top = self.top(at)?;
                    self.memo.insert(place, top);
                }
                b'h' | b'j' => {
                    let place = self.place(opcode == b'h')?;
                    let node = *self.memo.get(&place).ok_or(damaged(at, "it uses what it never kept"))?;
                    self.stack.push(node);
                }
                _ => return Err(self.refused(opcode, at)),
            }
        }
    }

    fn refused(&self, opcode: u8, at: usize) -> PickleError {
        let name = match opcode {
            b'c' => "GLOBAL",
            b'R' => "REDUCE",
            b'i' => "INST",
            b'o' => "OBJ",
            b'b' => "BUILD",
            b'P' => "PERSID",
            b'Q' => "BINPERSID",
            0x81 => "NEWOBJ",
            0x82..=0x84 => "EXT",
            0x92 => "NEWOBJ_EX",
            0x93 => "STACK_GLOBAL",
            _ => return PickleError::Unknown { opcode, at },
        };
        let target = if matches!(opcode, b'c' | b'i') { self.named() } else { String::new() };
        PickleError::Executes { name, at, target }
    }

    /// The module and the name after `GLOBAL`, for the error.
    fn named(&self) -> String {
        let rest = String::from_utf8_lossy(self.bytes.get(self.at..).unwrap_or_default());
        let mut lines = rest.lines().map(|line| line.chars().filter(char::is_ascii_graphic).take(64));
        let (module, name) = (lines.next(), lines.next());
        let text: Vec<String> = module.into_iter().chain(name).map(Iterator::collect).collect();
        format!(": `{}`", text.join("."))
    }

    fn end(&mut self) -> Result<usize, PickleError> {
        match self.stack.as_slice() {
            _ if self.at != self.bytes.len() => Err(damaged(self.at, "something follows its end")),
            [root] if self.marks.is_empty() => Ok(*root),
            _ => Err(damaged(self.at, "it ends with more or less than one value")),
        }
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, PickleError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many were taken"))
    }

    fn take(&mut self, length: usize) -> Result<&[u8], PickleError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(damaged(self.at, "it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn place(&mut self, short: bool) -> Result<u32, PickleError> {
        if short { Ok(u32::from(self.byte()?)) } else { self.u32() }
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        if self.nodes.len() == MAX_VALUES {
            return Err(PickleError::TooLarge("100000 values"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), PickleError> {
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| damaged(at, "its text is not UTF-8 (it may be GBK)"))?.to_owned();
        self.push(Node::Plain(text.into()))
    }

    /// An integer of so many bytes, little end first, in two's complement.
    fn long(&mut self, length: usize) -> Result<(), PickleError> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(PickleError::NotJson("an integer of more than 64 bits"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut all = [if negative { 0xFF } else { 0 }; 8];
        all[..length].copy_from_slice(bytes);
        self.push(Node::Plain(i64::from_le_bytes(all).into()))
    }

    fn float(&mut self) -> Result<(), PickleError> {
        let number = Number::from_f64(f64::from_be_bytes(self.array()?));
        let number = number.ok_or(PickleError::NotJson("a number that is infinite or not a number"))?;
        self.push(Node::Plain(Value::Number(number)))
    }

    fn top(&self, at: usize) -> Result<usize, PickleError> {
        self.stack.last().copied().ok_or(damaged(at, "it uses a value that is not there"))
    }

    /// The values that were put on the stack since the last mark.
    fn since_mark(&mut self, at: usize) -> Result<Vec<usize>, PickleError> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or(damaged(at, "it uses a mark that is not there"))?))
    }

    fn last(&mut self, count: usize, at: usize) -> Result<Vec<usize>, PickleError> {
        let from = self.stack.len().checked_sub(count);
        Ok(self.stack.split_off(from.ok_or(damaged(at, "it uses a value that is not there"))?))
    }

    fn extend_list(&mut self, parts: Vec<usize>, at: usize) -> Result<(), PickleError> {
        let list = self.top(at)?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(parts),
            _ => return Err(damaged(at, "it appends to what is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, parts: &[usize], at: usize) -> Result<(), PickleError> {
        let dict = self.top(at)?;
        if !parts.len().is_multiple_of(2) {
            return Err(damaged(at, "a key of a dictionary has no value"));
        }
        match &mut self.nodes[dict] {
            Node::Dict(dict) => dict.extend(parts.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err(damaged(at, "it sets a field of what is no dictionary")),
        }
        Ok(())
    }
}

fn damaged(at: usize, problem: &'static str) -> PickleError {
    PickleError::Damaged { at, problem }
}

/// Makes JSON of the nodes.
struct Tree<'a> {
    nodes: &'a [Node],
    values: usize,
}

impl Tree<'_> {
    fn value(&mut self, place: usize, depth: usize) -> Result<Value, PickleError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(PickleError::TooLarge("100000 values"));
        }
        // One that contains itself ends here too.
        if depth > MAX_DEPTH {
            return Err(PickleError::TooLarge("100 levels of values within values"));
        }
        match &self.nodes[place] {
            Node::Plain(value) => Ok(value.clone()),
            Node::List(parts) => {
                let parts = parts.iter().map(|part| self.value(*part, depth + 1));
                Ok(Value::Array(parts.collect::<Result<_, _>>()?))
            }
            Node::Dict(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    let Node::Plain(Value::String(key)) = &self.nodes[*key] else {
                        return Err(PickleError::NotJson("a dictionary with a key that is no text"));
                    };
                    map.insert(key.clone(), self.value(*value, depth + 1)?);
                }
                Ok(Value::Object(map))
            }
        }
    }
}
