//! Puts the Python package into the binary: a list of (path, bytes), so that no `pip install` is needed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new("../../python/src/riverrun");
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();

    let mut list = String::from("&[\n");
    for path in &files {
        let name = path.strip_prefix(root).map_err(io::Error::other)?;
        let whole = fs::canonicalize(path)?;
        let _ = writeln!(list, "    ({:?}, include_bytes!({:?})),", name.display(), whole.display());
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(PathBuf::from(out).join("python_files.rs"), list)
}

/// Adds the package's files. Cargo looks at the folders too, so that a new file is not overlooked.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "__pycache__") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|end| end == "py" || end == "typed") {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}
