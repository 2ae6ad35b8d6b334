//! Weights of PyTorch before 1.6: pickles.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::pth_legacy(bytes));
