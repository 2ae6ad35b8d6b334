//! Text-level variation of WGSL, kept to six things that a reader can do in his head:
//!
//! * `#import NAME` is replaced by `shaders/lib/NAME.wgsl`, once;
//! * `#ifdef NAME` … `#else` … `#endif`, nestable (`#ifndef` likewise);
//! * `#for i in 4` … `#endfor` repeats its lines with `{i}` replaced by 0, 1, 2, 3 (nestable): for the places where WGSL
//!   demands constants, such as the lane of a broadcast, and for register tiles that must stay in registers; the count may
//!   also be an `override` of the file, or a part of one (`#for i in TILE / 4`);
//! * `override NAME: u32 = 4u;` keeps its default or becomes `const NAME: u32 = VALUE;`, so that constants specialise
//!   array lengths too and every writer of naga sees plain WGSL;
//! * an aliased binding (an operand that shares its storage with a result) loses its declaration, and its reads go to the
//!   result;
//! * a binding in 16-bit storage is read and written through functions that convert ([`storage`]).

use super::{KernelKey, storage};
use crate::precision::Rounding;
use std::collections::{BTreeMap, BTreeSet};

/// Expands a kernel's text. The error says which line could not be understood.
pub fn expand(key: &KernelKey) -> Result<String, String> {
    let text = key.text().ok_or_else(|| format!("there is no shader {:?}", key.name()))?;
    let mut expander = Expander {
        key,
        out: String::with_capacity(text.len()),
        imported: BTreeSet::new(),
        unset: key.constants().collect(),
        unbound: key.aliases().collect(),
    };
    expander.text(text, key.name())?;
    let stored: Vec<_> = key.stored().filter(|(name, _)| key.aliases().all(|(read, _)| read != *name)).collect();
    let is_random = stored.iter().any(|(_, stored)| stored.rounding == Rounding::Stochastic);
    if !stored.is_empty() {
        expander.text("#import half_storage", key.name())?;
    }
    if is_random {
        expander.text("#import rounding", key.name())?;
    }
    if let Some(name) = expander.unset.keys().next() {
        return Err(format!("the constant {name} is set, but no line `override {name}: u32 = …;` declares it"));
    }
    if let Some(name) = expander.unbound.keys().next() {
        return Err(format!("{name} cannot share storage: no line `var<storage, read> {name}: …` declares it"));
    }
    let mut out = expander.out;
    for (read, written) in key.aliases() {
        out = replace_reads(&out, read, written);
    }
    if !stored.is_empty() {
        out = storage::without_comments(&out);
    }
    for (name, stored) in stored {
        out = storage::redirect(&out, name, stored)?;
    }
    if is_random { storage::add_stream(&out) } else { Ok(out) }
}

struct Expander<'k> {
    key: &'k KernelKey,
    out: String,
    imported: BTreeSet<String>,
    unset: BTreeMap<&'static str, u32>,
    unbound: BTreeMap<&'static str, &'static str>,
}

impl Expander<'_> {
    fn text(&mut self, text: &str, file: &str) -> Result<(), String> {
        let text = &unroll(text, file, &|name| self.constant(text, name))?;
        // One entry per open #ifdef: whether its current branch is taken.
        let mut branches: Vec<bool> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let at = |message: &str| format!("{file}.wgsl:{}: {message}: {line}", number + 1);
            let directive = line.trim_start();
            if let Some(name) = directive.strip_prefix("#ifdef ") {
                branches.push(self.key.is_defined(name.trim()));
            } else if let Some(name) = directive.strip_prefix("#ifndef ") {
                branches.push(!self.key.is_defined(name.trim()));
            } else if directive.starts_with("#else") {
                let branch = branches.last_mut().ok_or_else(|| at("#else without #ifdef"))?;
                *branch = !*branch;
            } else if directive.starts_with("#endif") {
                branches.pop().ok_or_else(|| at("#endif without #ifdef"))?;
            } else if branches.contains(&false) {
                continue;
            } else if let Some(name) = directive.strip_prefix("#import ") {
                let name = name.trim();
                if self.imported.insert(name.to_string()) {
                    let library = wgrad_shaders::library(name).ok_or_else(|| at("no such library shader"))?;
                    self.text(library, &format!("lib/{name}"))?;
                }
            } else if directive.starts_with('#') {
                return Err(at("unknown directive"));
            } else {
                self.line(line, &at)?;
            }
        }
        if branches.is_empty() { Ok(()) } else { Err(format!("{file}.wgsl: an #ifdef is not closed")) }
    }

    /// The value of an `override` of `text`: as set, or its default.
    fn constant(&self, text: &str, name: &str) -> Option<u32> {
        let set = self.key.constants().find(|(constant, _)| *constant == name).map(|(_, value)| value);
        let declaration = |line: &str| {
            let (declared, default) = line.strip_prefix("override ")?.split_once(": u32 = ")?;
            (declared == name).then(|| default.trim_end_matches("u;").parse().ok())?
        };
        set.or_else(|| text.lines().find_map(declaration))
    }

    fn line(&mut self, line: &str, at: &impl Fn(&str) -> String) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("override ") {
            let (name, tail) = rest.split_once(':').ok_or_else(|| at("an override needs a type"))?;
            let (kind, default) = tail.split_once('=').ok_or_else(|| at("an override needs a default"))?;
            let (name, kind) = (name.trim(), kind.trim());
            match self.unset.remove(name) {
                Some(value) if kind == "u32" => self.out.push_str(&format!("const {name}: u32 = {value}u;\n")),
                Some(_) => return Err(at("only u32 overrides can be set")),
                None => self.out.push_str(&format!("const {name}: {kind} ={default}\n")),
            }
            return Ok(());
        }
        let declared = line
            .split_once("var<storage, read> ")
            .and_then(|(_, rest)| rest.split_once(':'))
            .map(|(name, _)| name.trim().to_string());
        if declared.is_some_and(|name| self.unbound.remove(name.as_str()).is_some()) {
            return Ok(());
        }
        self.out.push_str(line);
        self.out.push('\n');
        Ok(())
    }
}

/// Expands the innermost `#for` blocks until none is left.
fn unroll(text: &str, file: &str, constant: &dyn Fn(&str) -> Option<u32>) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    while let Some(end) = lines.iter().position(|line| line.trim() == "#endfor") {
        let start = lines[..end].iter().rposition(|line| line.trim_start().starts_with("#for "));
        let start = start.ok_or_else(|| format!("{file}.wgsl: #endfor without #for"))?;
        let head = lines[start].trim_start().trim_start_matches("#for ").to_string();
        let (name, count) =
            head.split_once(" in ").ok_or_else(|| format!("{file}.wgsl: wanted `#for i in N`: {head}"))?;
        let value = |word: &str| word.trim().parse().ok().or_else(|| constant(word.trim()));
        let repeats = match count.split_once('/') {
            Some((whole, parts)) => value(whole).zip(value(parts)).and_then(|(whole, parts)| whole.checked_div(parts)),
            None => value(count),
        };
        let count = repeats.ok_or_else(|| format!("{file}.wgsl: {count:?} is no number of repeats"))?;
        let pattern = format!("{{{}}}", name.trim());
        let body = lines[start + 1..end].to_vec();
        let repeated =
            (0..count).flat_map(|i| body.iter().map(|line| line.replace(&pattern, &i.to_string())).collect::<Vec<_>>());
        let repeated: Vec<String> = repeated.collect();
        lines.splice(start..=end, repeated);
    }
    match lines.iter().find(|line| line.trim_start().starts_with("#for ")) {
        Some(line) => Err(format!("{file}.wgsl: not closed: {line}")),
        None => Ok(lines.join("\n")),
    }
}

/// Replaces the identifier `read` where an index follows it.
fn replace_reads(text: &str, read: &str, written: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find(read) {
        let (before, after) = rest.split_at(position);
        let tail = &after[read.len()..];
        out.push_str(before);
        let whole =
            !before.chars().next_back().or(out.chars().next_back()).is_some_and(is_word) && tail.starts_with('[');
        out.push_str(if whole { written } else { read });
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> KernelKey {
        KernelKey::from_source("test", text)
    }

    #[test]
    fn branches_nest_and_constants_are_fixed() {
        let mut key = key("override A: u32 = 1u;\n#ifdef X\nx\n#ifdef Y\ny\n#else\nnot y\n#endif\n#endif\nend");
        assert_eq!(expand(&key).as_deref(), Ok("const A: u32 = 1u;\nend\n"));
        key.define("X");
        key.set("A", 7);
        assert_eq!(expand(&key).as_deref(), Ok("const A: u32 = 7u;\nx\nnot y\nend\n"));
    }

    #[test]
    fn an_alias_replaces_reads_only() {
        let mut key = key("@group(0) var<storage, read> x: array<f32>;\nlet a = x[i] + wx[x[0]] + v.x[1]; // x\n");
        key.alias("x", "y");
        assert_eq!(expand(&key).as_deref(), Ok("let a = y[i] + wx[y[0]] + v.x[1]; // x\n"));
    }

    #[test]
    fn repeats_nest() {
        let key = key("#for i in 2\n#for j in 2\na{i}{j}\n#endfor\n#endfor");
        assert_eq!(expand(&key).as_deref(), Ok("a00\na01\na10\na11\n"));
    }

    #[test]
    fn repeats_count_by_constants() {
        let mut key = key("override N: u32 = 2u;\n#for i in N\na{i}\n#endfor\n#for i in N / 2\nb{i}\n#endfor");
        assert_eq!(expand(&key).as_deref(), Ok("const N: u32 = 2u;\na0\na1\nb0\n"));
        key.set("N", 4);
        assert_eq!(expand(&key).as_deref(), Ok("const N: u32 = 4u;\na0\na1\na2\na3\nb0\nb1\n"));
    }

    #[test]
    fn mistakes_are_named() {
        let mut unknown = key("x");
        unknown.set("A", 1);
        assert!(expand(&unknown).is_err_and(|e| e.contains("constant A")));
        assert!(expand(&key("#ifdef A\n")).is_err_and(|e| e.contains("not closed")));
        assert!(expand(&key("#for i in 2\nx")).is_err_and(|e| e.contains("not closed")));
        assert!(expand(&key("#for i in M\nx\n#endfor")).is_err_and(|e| e.contains("no number")));
        assert!(expand(&key("#endfor")).is_err_and(|e| e.contains("without #for")));
        assert!(expand(&key("#endif\n")).is_err_and(|e| e.contains("test.wgsl:1")));
        assert!(expand(&key("#import nowhere\n")).is_err_and(|e| e.contains("no such library")));
        assert!(expand(&KernelKey::builtin("nowhere")).is_err_and(|e| e.contains("no shader")));
    }
}
