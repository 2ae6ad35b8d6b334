//! Images and labels in MNIST's form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::idx(bytes));
