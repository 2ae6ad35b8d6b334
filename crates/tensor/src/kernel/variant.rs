//! The key of a kernel: which text, which ifdefs, which constants.

use super::storage::Stored;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names one specialised kernel. Two dispatches with equal keys share a pipeline.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelKey {
    name: &'static str,
    text: Option<&'static str>,
    defines: BTreeSet<&'static str>,
    constants: BTreeMap<&'static str, u32>,
    aliases: BTreeMap<&'static str, &'static str>,
    stored: BTreeMap<&'static str, Stored>,
}

impl KernelKey {
    /// The shader `shaders/NAME.wgsl`.
    pub fn builtin(name: &'static str) -> KernelKey {
        KernelKey {
            name,
            text: None,
            defines: BTreeSet::new(),
            constants: BTreeMap::new(),
            aliases: BTreeMap::new(),
            stored: BTreeMap::new(),
        }
    }

    /// A shader given as text.
    pub fn from_source(name: &'static str, text: &'static str) -> KernelKey {
        KernelKey { text: Some(text), ..KernelKey::builtin(name) }
    }

    /// Turns an `#ifdef` on.
    pub fn define(&mut self, name: &'static str) {
        self.defines.insert(name);
    }

    /// Sets an `override` constant.
    pub fn set(&mut self, name: &'static str, value: u32) {
        self.constants.insert(name, value);
    }

    /// States that binding `read` shares its storage with binding `written`: `read` is not bound, and the text's reads
    /// of it go to `written`.
    pub fn alias(&mut self, read: &'static str, written: &'static str) {
        self.aliases.insert(read, written);
    }

    /// States that binding `name` lies in 16-bit storage; see [`super::storage`].
    pub fn store(&mut self, name: &'static str, stored: Stored) {
        self.stored.insert(name, stored);
    }

    /// File stem of the shader.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the text is one of `shaders/`, not one that an operation brought along.
    pub fn is_builtin(&self) -> bool {
        self.text.is_none()
    }

    /// The text before expansion, `None` when no such shader exists.
    pub fn text(&self) -> Option<&'static str> {
        self.text.or_else(|| wgrad_shaders::source(self.name))
    }

    /// Whether an `#ifdef` is on.
    pub fn is_defined(&self, name: &str) -> bool {
        self.defines.contains(name)
    }

    /// The constants that are set.
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.constants.iter().map(|(&name, &value)| (name, value))
    }

    /// The bindings that lie in 16-bit storage.
    pub fn stored(&self) -> impl Iterator<Item = (&'static str, Stored)> + '_ {
        self.stored.iter().map(|(&name, &stored)| (name, stored))
    }

    /// The pairs (read binding, written binding) that share storage.
    pub fn aliases(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.aliases.iter().map(|(&read, &written)| (read, written))
    }
}

impl fmt::Display for KernelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let parts: Vec<String> = self
            .defines
            .iter()
            .map(|name| name.to_string())
            .chain(self.constants.iter().map(|(name, value)| format!("{name}={value}")))
            .chain(self.aliases.iter().map(|(read, written)| format!("{read}->{written}")))
            .chain(self.stored.iter().map(|(name, stored)| format!("{name}:{stored}")))
            .collect();
        if parts.is_empty() { Ok(()) } else { write!(f, "[{}]", parts.join(" ")) }
    }
}

impl fmt::Debug for KernelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
