//! `cargo xtask tidy`: the rules of ARCHITECTURE.md that neither the compiler nor clippy enforces.
//!
//! A rule is a function from the tree of files to findings, with a line that says why it is there. Rules look at text and
//! paths only, so that their tests are small trees made of snippets.

mod code;
mod crates;
mod rust;
mod shaders;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run;

/// A text file of the project.
struct File {
    /// Relative to the root, with `/` between the parts.
    path: String,
    text: String,
}

impl File {
    fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The path below `folder` (which ends in `/`), if it is there.
    fn below(&self, folder: &str) -> Option<&str> {
        self.path.strip_prefix(folder)
    }

    /// The lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.split('\n').enumerate().map(|(i, line)| (i + 1, line))
    }
}

/// The files of the project.
#[derive(Default)]
struct Tree {
    /// The text files.
    files: Vec<File>,
    /// The paths of all files and folders.
    paths: BTreeSet<String>,
}

impl Tree {
    fn with_extension(&self, extension: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.extension() == extension)
    }
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Finding { path: file.path.clone(), line, what: what.into() }
    }
}

/// A rule: its name, why it is there, and the function that finds where it is broken.
struct Rule {
    name: &'static str,
    why: &'static str,
    find: fn(&Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    crates::DIRECTION,
    crates::FACADE,
    rust::DOC_LINE,
    rust::TENSOR_WGPU,
    rust::BUFFERS,
    rust::LAYERS_PLAIN,
    rust::TRAINER_NO_WGPU,
    rust::UNSAFE,
    rust::NO_ENVIRONMENT,
    rust::PARSERS,
    rust::REGISTRY,
    shaders::HEADER,
    text::LENGTH,
    text::MARKS,
    text::LINKS,
    text::WHITESPACE,
];

/// Checks every rule, and prints each place that breaks one.
pub(crate) fn tidy() -> Result<()> {
    let tree = read(&run::root())?;
    let mut count = 0;
    for rule in RULES {
        let findings = (rule.find)(&tree);
        for Finding { path, line, what } in &findings {
            println!("{path}:{line}: {what}\n    {}: {}", rule.name, rule.why);
        }
        count += findings.len();
    }
    if count > 0 {
        bail!("tidy: {count} findings, see above");
    }
    println!("tidy: {} rules hold in {} files", RULES.len(), tree.files.len());
    Ok(())
}

/// Folders that hold no source.
const SKIPPED_FOLDERS: [&str; 3] = ["target", "runs", ".git"];

/// The kinds of text that are read.
const EXTENSIONS: [&str; 8] = ["rs", "wgsl", "md", "toml", "yml", "yaml", "sh", "json"];

fn read(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    read_folder(root, "", &mut tree)?;
    Ok(tree)
}

fn read_folder(folder: &Path, prefix: &str, tree: &mut Tree) -> Result<()> {
    let context = || format!("cannot read the folder {}", folder.display());
    let mut entries: Vec<_> =
        fs::read_dir(folder).with_context(context)?.collect::<Result<_, _>>().with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                read_folder(&entry.path(), &format!("{path}/"), tree)?;
                tree.paths.insert(path);
            }
        } else if kind.is_file() {
            let known = path.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension));
            if known || path == ".ci/run" {
                let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {path} as text"))?;
                tree.files.push(File { path: path.clone(), text });
            }
            tree.paths.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these files: path and text.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for &(path, text) in files {
            tree.files.push(File { path: path.to_owned(), text: text.to_owned() });
            let mut end = path.len();
            while end > 0 {
                tree.paths.insert(path[..end].to_owned());
                end = path[..end].rfind('/').unwrap_or(0);
            }
        }
        tree
    }

    /// No line; the bare `[]` leaves the element's type open.
    pub(super) const NONE: [usize; 0] = [];

    /// The lines that a rule finds in a tree of one file.
    pub(super) fn found(rule: &Rule, path: &str, text: &str) -> Vec<usize> {
        let findings = (rule.find)(&tree(&[(path, text)]));
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn rules_have_names_of_their_own_and_reasons() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().all(|rule| !rule.why.is_empty()));
    }

    #[test]
    fn reads_text_and_knows_every_path() {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in
            [("a/b.rs", &b"//! b"[..]), ("a/c.gz", &[0xff]), ("target/d.rs", b"x"), ("README.md", b"x")]
        {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let tree = read(folder.path()).unwrap();
        let texts: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(texts, ["README.md", "a/b.rs"]);
        let paths: Vec<_> = tree.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["README.md", "a", "a/b.rs", "a/c.gz"]);
    }
}
