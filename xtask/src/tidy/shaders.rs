//! Rules about shaders.

use super::{File, Finding, Rule, Tree};

/// The fields of a shader's header, in the order in which they stand.
const FIELDS: [&str; 5] = ["computes", "source", "bindings", "grid", "cost"];

pub(super) const HEADER: Rule = Rule {
    name: "shader header",
    why: "a shader is readable by itself: what it computes, source, bindings with shapes, grid, cost",
    find: header,
};

fn header(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("wgsl") {
        if !file.text.starts_with("//") {
            findings.push(Finding::new(file, 1, "does not begin with a comment"));
        } else if !is_import(file) {
            let comment: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("//")).collect();
            let has = |field: &str| comment.iter().any(|line| line.starts_with(&format!("// {field}:")));
            let missing = FIELDS.iter().filter(|field| !has(field));
            findings
                .extend(missing.map(|field| Finding::new(file, 1, format!("the header has no line `// {field}: …`"))));
        }
    }
    findings
}

/// A piece that other shaders import needs no more than a first line.
fn is_import(file: &File) -> bool {
    file.below("shaders/lib/").is_some()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, found};
    use super::*;

    const GOOD: &str = "// computes: y = x\n// source: by hand\n// bindings: x [n], y [n]\n//   more about them\n\
                        // grid: n / 64\n// cost: 8n bytes\n@compute fn main() {}\n";

    #[test]
    fn a_header_has_every_field() {
        assert_eq!(found(&HEADER, "shaders/copy.wgsl", GOOD), NONE);
        for field in FIELDS {
            let bad = GOOD.replace(&format!("// {field}:"), "// other:");
            assert_eq!(found(&HEADER, "shaders/copy.wgsl", &bad), [1], "{field}");
        }
        assert_eq!(found(&HEADER, "shaders/copy.wgsl", "fn f() {}\n// computes: late\n"), [1]);
    }

    #[test]
    fn an_import_has_a_first_line() {
        assert_eq!(found(&HEADER, "shaders/lib/philox.wgsl", "// Philox4x32-10.\nfn f() {}\n"), NONE);
        assert_eq!(found(&HEADER, "shaders/lib/philox.wgsl", "fn f() {}\n"), [1]);
    }
}
