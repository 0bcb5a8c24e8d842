//! Declared definitions: FDL flows. Parse, check with positions, interpret.

/// A mistake or a warning in a definition's source, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A mistake, or only a warning.
    pub is_error: bool,
    /// What is wrong, naming the object and the value.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte range in the source.
    pub span: (usize, usize),
}

/// A parsed and checked flow; the driver of its runs.
#[derive(Debug)]
pub struct Flow {}

impl Flow {
    /// Parses and checks a flow's source: the flow and its warnings, or every mistake.
    pub fn parse(source: &str) -> Result<(Flow, Vec<Diagnostic>), Vec<Diagnostic>> {
        let _ = source;
        todo!()
    }
    /// The functions that its steps call, in the order of the text.
    pub fn functions(&self) -> Vec<String> {
        todo!()
    }
}
