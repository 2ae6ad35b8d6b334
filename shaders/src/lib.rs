//! The compute kernels of wgrad as text, embedded so that a published crate contains them.
//!
//! Every kernel is one readable file `NAME.wgsl` with a header of fixed fields; `lib/` holds what several of them import.

include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// Text of the kernel `NAME.wgsl`.
pub fn source(name: &str) -> Option<&'static str> {
    find(KERNELS, name)
}

/// Text of the import `lib/NAME.wgsl`.
pub fn library(name: &str) -> Option<&'static str> {
    find(LIBRARY, name)
}

fn find(table: &'static [(&str, &str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
