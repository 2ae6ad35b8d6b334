//! Rules about every text: length, marks left behind, links, whitespace.

use super::code::has_word;
use super::{File, Finding, Rule, Tree};

const MAX_LINES: usize = 600;

pub(super) const LENGTH: Rule = Rule {
    name: "length",
    why: "a file that fits in one head; split it by what its parts are for",
    find: |tree| {
        let written = tree.files.iter().filter(|file| ["rs", "wgsl", "md"].contains(&file.extension()));
        let lengths = written.map(|file| (file, file.text.lines().count()));
        let long = lengths.filter(|(_, lines)| *lines > MAX_LINES);
        long.map(|(file, lines)| Finding::new(file, MAX_LINES + 1, format!("{lines} lines, at most {MAX_LINES}")))
            .collect()
    },
};

/// Spelled so that this file does not hold them.
const MARK_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

pub(super) const MARKS: Rule = Rule {
    name: "marks left behind",
    why: "what is left to do stands in an issue, where someone finds it",
    find: |tree| {
        let mut findings = Vec::new();
        for file in &tree.files {
            for (number, line) in file.lines() {
                let marks = MARK_WORDS.iter().filter(|mark| has_word(line, mark));
                findings.extend(marks.map(|mark| Finding::new(file, number, format!("`{mark}`"))));
            }
        }
        findings
    },
};

pub(super) const WHITESPACE: Rule = Rule {
    name: "whitespace",
    why: "no trailing blanks, tabs or carriage returns: they make noise in every diff",
    find: |tree| {
        let mut findings = Vec::new();
        for file in tree.files.iter().filter(|file| file.extension() != "json") {
            for (number, line) in file.lines() {
                let what = if line.contains('\t') {
                    "a tab"
                } else if line.ends_with(char::is_whitespace) {
                    "a trailing blank"
                } else {
                    continue;
                };
                findings.push(Finding::new(file, number, what));
            }
            if !file.text.is_empty() && !file.text.ends_with('\n') {
                findings.push(Finding::new(file, file.text.lines().count(), "no line feed at the end"));
            }
        }
        findings
    },
};

pub(super) const LINKS: Rule =
    Rule { name: "links", why: "a relative link leads to a file that is there", find: links };

fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension("md") {
        let mut fenced = false;
        for (number, line) in file.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                for target in targets(line) {
                    if !leads_somewhere(tree, file, &target) {
                        findings.push(Finding::new(file, number, format!("the link to {target} leads nowhere")));
                    }
                }
            }
        }
    }
    findings
}

/// The targets of `[text](target "title")` and `[text]: target` in one line of Markdown, code spans left out.
fn targets(line: &str) -> Vec<String> {
    // Every other piece between backquotes is code; a link's text may hold such a span.
    let prose: String = line.split('`').step_by(2).collect();
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    let targets = inline.chain(defined).map(|target| target.split_whitespace().next().unwrap_or(""));
    targets.map(|target| target.trim_matches(['<', '>']).to_owned()).collect()
}

fn leads_somewhere(tree: &Tree, file: &File, target: &str) -> bool {
    let elsewhere = target.contains("://") || target.starts_with("mailto:");
    let path = target.split('#').next().unwrap_or("");
    if elsewhere || (path.is_empty() && target.starts_with('#')) {
        return true;
    }
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            _ => parts.push(part),
        }
    }
    !path.is_empty() && (parts.is_empty() || tree.paths.contains(&parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, found, tree};
    use super::*;

    #[test]
    fn files_are_short() {
        assert_eq!(found(&LENGTH, "a.rs", &"x\n".repeat(600)), NONE);
        assert_eq!(found(&LENGTH, "a.rs", &"x\n".repeat(601)), [601]);
        assert_eq!(found(&LENGTH, "a.json", &"x\n".repeat(601)), NONE);
    }

    #[test]
    fn no_marks_are_left_behind() {
        for mark in MARK_WORDS {
            assert_eq!(found(&MARKS, "a.rs", &format!("fn f() {{}}\n// {mark}: later\n")), [2]);
            assert_eq!(found(&MARKS, "a.rs", &format!("let {mark}S = 1;\n")), NONE);
        }
    }

    #[test]
    fn whitespace_makes_no_noise() {
        assert_eq!(found(&WHITESPACE, "a.rs", "a\n\n  b\n"), NONE);
        assert_eq!(found(&WHITESPACE, "a.rs", "a \nb\n\tc\nd\r\ne\n   \n"), [1, 3, 4, 6]);
        assert_eq!(found(&WHITESPACE, "a.md", "a\nb"), [2]);
    }

    #[test]
    fn links_lead_somewhere() {
        let find = |text: &str| {
            let tree = tree(&[("docs/a.md", text), ("docs/sub/b.md", ""), ("README.md", "")]);
            (LINKS.find)(&tree).len()
        };
        for good in [
            "[b](sub/b.md), [r](../README.md#part), [d](./sub) and [root](..)",
            "[web](https://example.org/x) [mail](mailto:a@example.org) [here](#part)",
            "`[code](none.md)` and [`code`](sub/b.md \"title\")",
            "```\n[fenced](none.md)\n```",
            "[b]: sub/b.md",
            "![picture](sub/b.md)",
        ] {
            assert_eq!(find(good), 0, "{good}");
        }
        for bad in ["[x](none.md)", "[x](../../README.md)", "[x](/README2.md)", "[x]: none.md", "![x](a.svg)", "[x]()"]
        {
            assert_eq!(find(bad), 1, "{bad}");
        }
    }
}
