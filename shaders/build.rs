//! Lists every `*.wgsl` beside this file, so that adding a kernel is adding a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut table = String::new();
    for (constant, meaning, folder) in [
        ("KERNELS", "All kernels: name and text.", root.clone()),
        ("LIBRARY", "All imports: name and text.", root.join("lib")),
    ] {
        println!("cargo::rerun-if-changed={}", folder.display());
        writeln!(table, "/// {meaning}\npub const {constant}: &[(&str, &str)] = &[").map_err(io::Error::other)?;
        for path in wgsl_files(&folder)? {
            println!("cargo::rerun-if-changed={}", path.display());
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            writeln!(table, "    ({name:?}, include_str!({:?})),", path.display().to_string())
                .map_err(io::Error::other)?;
        }
        table.push_str("];\n");
    }
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("table.rs"), table)
}

fn wgsl_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wgsl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
