//! Redirects a kernel's text to 16-bit storage.
//!
//! Kernels are written in f32: `x[i]` reads and `y[i] = value;` stores one element, or one vec4 of neighbours. Where a binding
//! lies in 16 bits its declaration becomes an array of packed codes, reads go through `decode_x(i)` and stores through
//! `encode_y(i, value)`, which round as `lib/half_storage.wgsl` says. So no kernel is written twice, and each of them, those
//! that applications bring included, works in every storage. Single elements can be read from packed codes, not written:
//! two of them share a word.

use crate::precision::{Rounding, Storage};
use std::fmt;

/// The 16-bit storage of one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stored {
    /// Never [`Storage::F32`].
    pub storage: Storage,
    /// How stores round.
    pub rounding: Rounding,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.storage.name())?;
        if self.rounding == Rounding::Stochastic { f.write_str("~") } else { Ok(()) }
    }
}

/// Name of the binding and of the argument that stochastic rounding adds to a kernel.
pub(crate) const RNG_BINDING: &str = "rounding_rng";
pub(crate) const STREAM_ARG: &str = "rounding_stream";

/// The text without line comments, in which an access is none.
pub(super) fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split_once("//").map_or(line, |(code, _)| code).trim_end().to_string() + "\n";
    text.lines().map(code).collect()
}

/// Redirects the binding `name`. Wants the text with imports, ifdefs and aliases resolved, and without comments.
pub(super) fn redirect(text: &str, name: &str, stored: Stored) -> Result<String, String> {
    let (text, element) = redeclare(text, name)?;
    let mut accesses = Accesses { name, reads: false, stores: false, reads_back: false };
    let mut out = accesses.rewrite(&text)?;
    let storage = stored.storage.name();
    match (element, accesses.stores) {
        (Element::Scalar, true) => return Err(format!("{name} is written by single elements, which 16 bits cannot be")),
        (Element::Scalar, false) => out.push_str(&format!(
            "fn decode_{name}(i: u32) -> f32 {{ let four = unpack_{storage}(vec2u({name}[i / 2u], 0u)); return select(four.x, four.y, i % 2u == 1u); }}\n"
        )),
        (Element::Vec4, stores) => {
            out.push_str(&format!("fn decode_{name}(i: u32) -> vec4f {{ return unpack_{storage}({name}[i]); }}\n"));
            if stores {
                let code = match stored.rounding {
                    Rounding::Nearest => format!("{storage}_nearest(v)"),
                    Rounding::Stochastic => {
                        format!("{storage}_stochastic(v, rounding_words(i, args.{STREAM_ARG}))")
                    }
                };
                out.push_str(&format!("fn encode_{name}(i: u32, v: vec4f) {{ {name}[i] = pack_codes({code}); }}\n"));
            }
        }
    }
    Ok(out)
}

/// Whether the kernel reads what lies in a binding that it writes: a sum that would be rounded with every term. An error where
/// its stores cannot be redirected at all.
pub(crate) fn reads_back(text: &str, name: &str) -> Result<bool, String> {
    let mut accesses = Accesses { name, reads: false, stores: false, reads_back: false };
    accesses.rewrite(&without_comments(text))?;
    Ok(accesses.stores && (accesses.reads || accesses.reads_back))
}

/// Gives the uniform block the number of the kernel's random stream.
pub(super) fn add_stream(text: &str) -> Result<String, String> {
    match text.split_once("struct Args {") {
        Some((before, after)) => Ok(format!("{before}struct Args {{ {STREAM_ARG}: u32, {after}")),
        None => Err("stochastic rounding needs a `struct Args { … }` to put its stream into".to_string()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Element {
    Scalar,
    Vec4,
}

/// Replaces the element type of a declaration `var<storage, …> name: array<T>;`.
fn redeclare(text: &str, name: &str) -> Result<(String, Element), String> {
    let mut found = None;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match array_of(line, name) {
            Some((head, element)) => {
                let element = match alias_of(text, element) {
                    "vec4f" | "vec4<f32>" => Element::Vec4,
                    "f32" => Element::Scalar,
                    other => return Err(format!("{name} holds {other}; only f32 and vec4f have 16-bit storage")),
                };
                found = Some(element);
                let packed = if element == Element::Vec4 { "vec2u" } else { "u32" };
                out.push_str(&format!("{head}{name}: array<{packed}>;"));
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    found
        .map(|element| (out, element))
        .ok_or_else(|| format!("no line `var<storage, …> {name}: array<…>;` declares it"))
}

/// What stands before the name, and the element type.
fn array_of<'t>(line: &'t str, name: &str) -> Option<(&'t str, &'t str)> {
    let start = line.find("var<storage")?;
    let at = start + line[start..].find("> ")? + 2;
    let element = line[at..].strip_prefix(name)?.strip_prefix(": array<")?.trim_end().strip_suffix(">;")?;
    Some((&line[..at], element))
}

/// Follows `alias A = B;` to its end.
fn alias_of<'t>(text: &'t str, name: &'t str) -> &'t str {
    let definition = |line: &'t str| {
        let (alias, meaning) = line.trim().strip_prefix("alias ")?.strip_suffix(';')?.split_once(" = ")?;
        (alias == name).then_some(meaning)
    };
    text.lines().find_map(definition).map_or(name, |meaning| alias_of(text, meaning))
}

/// Rewrites the accesses to one binding, and remembers of what kind they were.
struct Accesses<'n> {
    name: &'n str,
    reads: bool,
    stores: bool,
    /// `y[i] += v`
    reads_back: bool,
}

impl Accesses<'_> {
    fn rewrite(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(position) = self.next_access(rest) {
            let open = position + self.name.len();
            let close = closing(rest, open).ok_or_else(|| format!("{}[ is not closed", self.name))?;
            out.push_str(&rest[..position]);
            let index = self.rewrite(&rest[open + 1..close])?;
            rest = &rest[close + 1..];
            let next = rest.trim_start();
            let name = self.name;
            let (operator, value) = match next.as_bytes() {
                [b'=', b'=', ..] => (None, next),
                [b'=', ..] => (Some(None), &next[1..]),
                [operator @ (b'+' | b'-' | b'*' | b'/'), b'=', ..] => (Some(Some(char::from(*operator))), &next[2..]),
                _ => (None, next),
            };
            if is_part_store(next) {
                return Err(format!("{name} is written by components, which 16 bits cannot be"));
            }
            let Some(compound) = operator else {
                self.reads = true;
                out.push_str(&format!("decode_{name}({index})"));
                continue;
            };
            let end = value.find(';').ok_or_else(|| format!("a store to {name} does not end"))?;
            let stored = self.rewrite(value[..end].trim())?;
            rest = &value[end..];
            self.stores = true;
            match compound {
                None => out.push_str(&format!("encode_{name}({index}, {stored})")),
                Some(operator) => {
                    self.reads_back = true;
                    out.push_str(&format!("encode_{name}({index}, decode_{name}({index}) {operator} ({stored}))"));
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Where the identifier stands next with an index behind it.
    fn next_access(&self, text: &str) -> Option<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let mut from = 0;
        while let Some(found) = text[from..].find(self.name) {
            let at = from + found;
            let end = at + self.name.len();
            if text[end..].starts_with('[') && !text[..at].chars().next_back().is_some_and(is_word) {
                return Some(at);
            }
            from = end;
        }
        None
    }
}

/// Whether a component of what was accessed is assigned to: `.x = v`, `[j] += v`.
fn is_part_store(rest: &str) -> bool {
    let part = match rest.as_bytes() {
        [b'.', ..] => rest[1..].trim_start_matches(|c: char| c.is_alphanumeric()),
        [b'[', ..] => closing(rest, 0).map_or("", |close| &rest[close + 1..]),
        _ => return false,
    };
    let part = part.trim_start();
    let part = part.strip_prefix(['+', '-', '*', '/']).unwrap_or(part);
    part.starts_with('=') && !part.starts_with("==")
}

/// The bracket that closes the one at `open`.
fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text[open..].char_indices() {
        match c {
            '[' => depth += 1,
            ']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BF16: Stored = Stored { storage: Storage::Bf16, rounding: Rounding::Nearest };

    #[test]
    fn reads_and_stores_are_redirected() {
        let text = "alias V = vec4f;\n@group(0) @binding(1) var<storage, read_write> y: array<V>;\ny[i] = y[j + k[2]] * ey[0];\n";
        let out = redirect(text, "y", BF16).expect("redirects");
        assert!(
            out.contains("var<storage, read_write> y: array<vec2u>;\nencode_y(i, decode_y(j + k[2]) * ey[0]);\n"),
            "{out}"
        );
        assert!(out.contains("fn encode_y(i: u32, v: vec4f) { y[i] = pack_codes(bf16_nearest(v)); }"), "{out}");
        let sum = text.replace("] = y[j + k[2]]", "] += y[j]");
        let out = redirect(&sum, "y", BF16).expect("redirects");
        assert!(out.contains("encode_y(i, decode_y(i) + (decode_y(j) * ey[0]));"), "{out}");
    }

    #[test]
    fn sums_in_place_are_told_from_plain_stores() {
        assert_eq!(reads_back("y[i] = x[i];", "y"), Ok(false));
        assert_eq!(reads_back("let a = y[i];", "y"), Ok(false));
        assert_eq!(reads_back("y[i] += x[i];", "y"), Ok(true));
        assert_eq!(reads_back("y[i] = y[i] + x[i];", "y"), Ok(true));
        assert_eq!(reads_back("// y[i] += x\ny[i] = x[i]; // y[j] + 1", "y"), Ok(false));
        assert!(reads_back("y[i].x = 1.0;", "y").is_err() && reads_back("y[i][j] += 1.0;", "y").is_err());
        assert_eq!(reads_back("let a = y[i].x == 1.0;", "y"), Ok(false));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let declare = |element: &str| format!("@group(0) @binding(1) var<storage, read_write> y: array<{element}>;\n");
        let store = |element: &str| redirect(&(declare(element) + "y[i] = v;"), "y", BF16);
        assert!(store("f32").is_err_and(|e| e.contains("single elements")));
        assert!(store("u32").is_err_and(|e| e.contains("u32")));
        assert!(redirect(&declare("f32"), "x", BF16).is_err_and(|e| e.contains("no line")));
        assert!(redirect(&(declare("f32") + "let a = y[2];"), "y", BF16).is_ok());
        assert!(add_stream("fn main() {}").is_err());
    }
}
