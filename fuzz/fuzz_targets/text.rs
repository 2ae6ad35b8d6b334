//! What is given as text: precisions, patterns, log records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::text(bytes));
