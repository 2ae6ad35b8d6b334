//! Checkpoints of wgrad.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::checkpoint(bytes));
